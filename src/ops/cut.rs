//! Memory of rows that is cut between two rows: what threads share, and what is added by halves.

/// Memory that can be cut in two before a row.
pub trait Cut: Sized {
    /// What belongs to the rows before `row`, and the rest.
    fn cut(self, row: usize) -> (Self, Self);
}

/// Memory that is read, and how many elements lie between two rows of it.
pub struct Input<'a, T>(pub &'a [T], pub usize);

/// Memory that is written, and how many elements lie between two rows of it.
pub struct Results<'a, T>(pub &'a mut [T], pub usize);

// The last row may end before its stride does, and what has no rows is no longer than it is: hence the minimum.

impl<T> Cut for Input<'_, T> {
    fn cut(self, row: usize) -> (Self, Self) {
        let (a, b) = self.0.split_at(self.0.len().min(row * self.1));
        (Self(a, self.1), Self(b, self.1))
    }
}

impl<T> Cut for Results<'_, T> {
    fn cut(self, row: usize) -> (Self, Self) {
        let (a, b) = self.0.split_at_mut(self.0.len().min(row * self.1));
        (Self(a, self.1), Self(b, self.1))
    }
}

impl<A: Cut, B: Cut> Cut for (A, B) {
    fn cut(self, row: usize) -> (Self, Self) {
        let ((a0, a1), (b0, b1)) = (self.0.cut(row), self.1.cut(row));
        ((a0, b0), (a1, b1))
    }
}

impl<M: Cut> Cut for Option<M> {
    fn cut(self, row: usize) -> (Self, Self) {
        match self {
            Some(memory) => {
                let (a, b) = memory.cut(row);
                (Some(a), Some(b))
            }
            None => (None, None),
        }
    }
}
