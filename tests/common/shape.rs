//! Rows × cols with strides, ours: the tests compute extents on their own.

use super::ops::Width;
use softmax::Rows;

#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Shape {
    pub rows: usize,
    pub cols: usize,
    pub x_stride: usize,
    pub y_stride: usize,
}

impl Shape {
    pub fn rows(self) -> Rows {
        Rows::new(self.rows, self.cols)
            .with_x_stride(self.x_stride)
            .with_y_stride(self.y_stride)
    }

    /// The same shape in place, where the output stride is not looked at.
    pub fn rows_in_place(self) -> Rows {
        Rows::new(self.rows, self.cols).with_x_stride(self.x_stride)
    }

    pub fn x_extent(self) -> usize {
        extent(self.rows, self.cols, self.x_stride)
    }

    /// The extent of the output of an operator.
    pub fn y_extent(self, width: Width) -> usize {
        if width == Width::Row {
            extent(self.rows, self.cols, self.y_stride)
        } else {
            self.rows
        }
    }

    /// Where the output of row `r` lies.
    pub fn y_row(self, width: Width, r: usize) -> std::ops::Range<usize> {
        if width == Width::Row {
            r * self.y_stride..r * self.y_stride + self.cols
        } else {
            r..r + 1
        }
    }
}

pub fn extent(rows: usize, cols: usize, stride: usize) -> usize {
    if rows == 0 || cols == 0 {
        0
    } else {
        (rows - 1) * stride + cols
    }
}
