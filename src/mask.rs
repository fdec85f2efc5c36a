//! What the masked operators do to a row before its softmax.
//!
//! ALiBi is from Press et al. (2021, arXiv:2108.12409), attention sinks from Xiao et al. (2023, arXiv:2309.17453), the softcap
//! as in the report of Gemma 2 (2024, arXiv:2408.00118).

use crate::element::{Element, Float};
use crate::error::Error;
use crate::rows::Rows;

mod sealed {
    pub trait Sealed<T> {}
}

/// An element type that an additive mask, or sinks, for rows of `T` can have: f32 for all, `T` itself, and f16 and bf16 for
/// f32. Sealed.
pub trait MaskElement<T: Element>: Element + sealed::Sealed<T> {
    #[doc(hidden)]
    fn values(values: &[Self]) -> MaskValues<'_, T>;
}

/// The values of an additive mask, or sinks.
#[derive(Clone, Copy)]
#[doc(hidden)]
pub enum MaskValues<'a, T> {
    Single(&'a [f32]),
    Own(&'a [T]),
    #[cfg(feature = "half")]
    F16(&'a [half::f16]),
    #[cfg(feature = "half")]
    Bf16(&'a [half::bf16]),
}

impl<T: Element> sealed::Sealed<T> for f32 {}
impl<T: Element> MaskElement<T> for f32 {
    #[inline(always)]
    fn values(values: &[f32]) -> MaskValues<'_, T> {
        MaskValues::Single(values)
    }
}

macro_rules! own {
    ($($t:ty)*) => {$(
        impl sealed::Sealed<$t> for $t {}
        impl MaskElement<$t> for $t {
            #[inline(always)]
            fn values(values: &[$t]) -> MaskValues<'_, $t> {
                MaskValues::Own(values)
            }
        }
    )*};
}
own!(f64);
#[cfg(feature = "half")]
own!(half::f16 half::bf16);

#[cfg(feature = "half")]
macro_rules! half_for_single {
    ($($half:ty: $values:ident),*) => {$(
        impl sealed::Sealed<f32> for $half {}
        impl MaskElement<f32> for $half {
            #[inline(always)]
            fn values(values: &[$half]) -> MaskValues<'_, f32> {
                MaskValues::$values(values)
            }
        }
    )*};
}
#[cfg(feature = "half")]
half_for_single!(half::f16: F16, half::bf16: Bf16);

impl<'a, T: Element> MaskValues<'a, T> {
    #[inline(always)]
    pub(crate) fn len(&self) -> usize {
        match self {
            Self::Single(values) => values.len(),
            Self::Own(values) => values.len(),
            #[cfg(feature = "half")]
            Self::F16(values) => values.len(),
            #[cfg(feature = "half")]
            Self::Bf16(values) => values.len(),
        }
    }

    /// From `start` to `end`.
    #[inline(always)]
    pub(crate) fn part(&self, start: usize, end: usize) -> Self {
        match self {
            Self::Single(values) => Self::Single(&values[start..end]),
            Self::Own(values) => Self::Own(&values[start..end]),
            #[cfg(feature = "half")]
            Self::F16(values) => Self::F16(&values[start..end]),
            #[cfg(feature = "half")]
            Self::Bf16(values) => Self::Bf16(&values[start..end]),
        }
    }

    #[inline(always)]
    pub(crate) fn get(&self, i: usize) -> T::Compute {
        match self {
            Self::Single(values) => T::Compute::from_f64(f64::from(values[i])),
            Self::Own(values) => values[i].widen(),
            #[cfg(feature = "half")]
            Self::F16(values) => single(values[i]),
            #[cfg(feature = "half")]
            Self::Bf16(values) => single(values[i]),
        }
    }
}

/// The value of an f16 or a bf16 beside logits of another type: exact.
#[cfg(feature = "half")]
#[inline(always)]
pub(crate) fn single<H: Element<Compute = f32>, F: Float>(value: H) -> F {
    F::from_f64(f64::from(value.widen()))
}

/// Which row of a mask belongs to which row of the logits: row `r` has the one that starts at
/// `((r / every) % cycle)·stride`, and `(r / outer rows)·outer stride` behind that.
///
/// With heads × queries rows, heads within a batch:
///
/// | mask of | |
/// |---|---|
/// | every row its own | `Broadcast::rows(cols)` |
/// | one row for all | `Broadcast::ONE` |
/// | queries × cols, for every head | `Broadcast::rows(cols).cycle(queries)` |
/// | batch × cols, for every head and query | `Broadcast::rows(cols).every(heads * queries)` |
/// | batch × queries × cols, for every head | `Broadcast::rows(cols).cycle(queries).outer(heads * queries, queries * cols)` |
/// | a value per head (sinks) | `Broadcast::rows(1).every(queries).cycle(heads)` |
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Broadcast {
    stride: usize,
    every: usize,
    cycle: usize,
    /// 0: none.
    outer: usize,
    outer_stride: usize,
}

impl Broadcast {
    /// The same row for all.
    pub const ONE: Self = Self::rows(0);

    /// Row `r` starts at `r·stride`.
    ///
    /// ```
    /// # use softmax::*;
    /// let bias = [0.0_f32, f32::NEG_INFINITY, f32::NEG_INFINITY, 0.0];
    /// let mut x = [3.0_f32; 4];
    /// let mask = Mask::new().with_additive(&bias, Broadcast::rows(2));
    /// masked_softmax_in_place(&mut x, Rows::new(2, 2), &mask)?;
    /// assert_eq!(x, [1.0, 0.0, 0.0, 1.0]);
    /// # Ok::<(), Error>(())
    /// ```
    pub const fn rows(stride: usize) -> Self {
        Self {
            stride,
            every: 1,
            cycle: usize::MAX,
            outer: 0,
            outer_stride: 0,
        }
    }

    /// The same with `rows` consecutive rows sharing one.
    ///
    /// ```
    /// # use softmax::*;
    /// let bias = [0.0_f32, f32::NEG_INFINITY, f32::NEG_INFINITY, 0.0];
    /// let mut x = [3.0_f32; 8];
    /// let mask = Mask::new().with_additive(&bias, Broadcast::rows(2).every(2));
    /// masked_softmax_in_place(&mut x, Rows::new(4, 2), &mask)?;
    /// assert_eq!(x, [1.0, 0.0, 1.0, 0.0, 0.0, 1.0, 0.0, 1.0]);
    /// # Ok::<(), Error>(())
    /// ```
    #[must_use]
    pub const fn every(self, rows: usize) -> Self {
        Self { every: rows, ..self }
    }

    /// The same starting again after `rows` different ones.
    ///
    /// ```
    /// # use softmax::*;
    /// let bias = [0.0_f32, f32::NEG_INFINITY, f32::NEG_INFINITY, 0.0];
    /// let mut x = [3.0_f32; 8];
    /// let mask = Mask::new().with_additive(&bias, Broadcast::rows(2).cycle(2));
    /// masked_softmax_in_place(&mut x, Rows::new(4, 2), &mask)?;
    /// assert_eq!(x, [1.0, 0.0, 0.0, 1.0, 1.0, 0.0, 0.0, 1.0]);
    /// # Ok::<(), Error>(())
    /// ```
    #[must_use]
    pub const fn cycle(self, rows: usize) -> Self {
        Self { cycle: rows, ..self }
    }

    /// `stride` more for each `rows` rows of the logits, on top of the rest, which goes on counting unless
    /// [`cycle`](Self::cycle) makes it start again; 0 rows for none. The mask holds as many rows for the last of these groups
    /// as for the others.
    ///
    /// ```
    /// use softmax::{Broadcast, Mask, Rows, masked_softmax};
    /// // Two sequences of three heads with two queries each, over two keys: a mask for each sequence.
    /// let (batch, heads, queries, keys) = (2, 3, 2, 2);
    /// let mut bias = [0.0_f32; 8];
    /// bias[5] = f32::NEG_INFINITY; // sequence 1, query 0, key 1
    /// let rows = Broadcast::rows(keys).cycle(queries).outer(heads * queries, queries * keys);
    /// let mut y = [0.0_f32; 24];
    /// masked_softmax(
    ///     &[1.0; 24],
    ///     &mut y,
    ///     Rows::new(batch * heads * queries, keys),
    ///     &Mask::new().with_additive(&bias, rows),
    /// )?;
    /// assert!(y[..12].iter().all(|&p| p == 0.5));
    /// assert_eq!(y[12..16], [1.0, 0.0, 0.5, 0.5]);
    /// assert_eq!(y[20..], [1.0, 0.0, 0.5, 0.5]);
    /// # Ok::<(), softmax::Error>(())
    /// ```
    #[must_use]
    pub const fn outer(self, rows: usize, stride: usize) -> Self {
        Self {
            outer: rows,
            outer_stride: stride,
            ..self
        }
    }

    /// Where the row for row `r` starts. Divisions only where there is something to divide by.
    #[inline(always)]
    pub(crate) fn start(&self, r: usize) -> usize {
        let group = if self.every > 1 { r / self.every } else { r };
        let row = if group >= self.cycle { group % self.cycle } else { group };
        row * self.stride + r.checked_div(self.outer).unwrap_or(0) * self.outer_stride
    }

    /// Checks that `len` elements hold what `rows` rows of `cols` elements need.
    fn check(&self, what: &'static str, len: usize, rows: usize, cols: usize) -> Result<(), Error> {
        for (what, value) in [
            ("rows that share a mask row", self.every),
            ("mask rows of a cycle", self.cycle),
        ] {
            if value == 0 {
                return Err(Error::Parameter {
                    name: what,
                    value: 0.0.into(),
                    range: "at least 1",
                });
            }
        }
        let (different, stride) = match self.stride {
            0 => (1, cols),
            stride => (rows.div_ceil(self.every).min(self.cycle), stride),
        };
        Rows::new(different, cols).check(what, len, stride)?;
        if self.outer == 0 || self.outer_stride == 0 {
            return Ok(());
        }
        let extent = (different - 1) * stride + cols;
        Rows::new(rows.div_ceil(self.outer), extent).check_extent(what, len, self.outer_stride)
    }
}

/// What the masked operators give for a row that has nothing visible, or nothing but −∞.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum FullyMasked {
    /// Probability 0, logarithm −∞.
    #[default]
    Zero,
    /// NaN.
    Nan,
}

/// A boolean mask.
#[derive(Clone, Copy)]
pub(crate) enum Keep<'a> {
    All,
    Bytes(&'a [u8]),
    Bits(&'a [u8]),
}

/// What is done to the scores x before softmax, in this order:
///
/// 1. z = scale·x, or softcap·tanh(scale·x/softcap) if there is a softcap;
/// 2. z + mask, or z + alibi_slope·mask, where there is an additive mask;
/// 3. excluded: what is not visible by [causal](Self::with_causal), [window](Self::with_window), then
///    [length](Self::with_lengths), then the [keep](Self::with_keep) mask;
/// 4. a [sink](Self::with_sinks) joins the row: it takes probability and is not written.
///
/// A masked place, one that is excluded or whose additive mask is −∞, is as if absent, whatever it holds, NaN included;
/// so is a score of −∞, unless the mask that is added to it is +∞ or NaN. Row `r` is the query `r % queries`.
/// [`Mask::new`] does nothing.
///
/// z is rounded once where there is neither softcap nor slope (`fma(scale, x, mask)`; the `Portable` backend twice).
/// The product of slope and mask is rounded before; the softcap is within 2 ULP (`Portable`: 3).
///
/// ```
/// use softmax::{Mask, Rows, masked_softmax};
/// let scores = [8.0_f32, f32::NAN, 8.0, 8.0];
/// let mut y = [0.0; 4];
/// masked_softmax(&scores, &mut y, Rows::new(2, 2), &Mask::new().with_scale(0.125).with_causal(0))?;
/// assert_eq!(y, [1.0, 0.0, 0.5, 0.5]);
/// # Ok::<(), softmax::Error>(())
/// ```
#[derive(Clone, Copy)]
pub struct Mask<'a, T: Element> {
    pub(crate) scale: T::Compute,
    /// 0: none.
    pub(crate) softcap: T::Compute,
    pub(crate) slope: T::Compute,
    pub(crate) additive: Option<(MaskValues<'a, T>, Broadcast)>,
    /// Which row of the masks row 0 of the call is.
    pub(crate) first: usize,
    causal: Option<isize>,
    /// 0: all rows.
    queries: usize,
    /// 0: none.
    window: usize,
    lengths: Option<(&'a [usize], Broadcast)>,
    keep: Keep<'a>,
    keep_rows: Broadcast,
    sinks: Option<(MaskValues<'a, T>, Broadcast)>,
    pub(crate) fully_masked: FullyMasked,
}

impl<T: Element> Default for Mask<'_, T> {
    fn default() -> Self {
        Self::new()
    }
}

impl<'a, T: Element> Mask<'a, T> {
    /// Scale 1, and nothing masked.
    ///
    /// ```
    /// # use softmax::*;
    /// let (mut x, mut same) = ([1.0_f32, 2.0], [1.0_f32, 2.0]);
    /// masked_softmax_in_place(&mut x, Rows::new(1, 2), &Mask::new())?;
    /// softmax_in_place(&mut same);
    /// assert_eq!(x, same);
    /// # Ok::<(), Error>(())
    /// ```
    pub fn new() -> Self {
        Self {
            scale: T::Compute::from_i32(1),
            softcap: T::Compute::ZERO,
            slope: T::Compute::from_i32(1),
            additive: None,
            first: 0,
            causal: None,
            queries: 0,
            window: 0,
            lengths: None,
            keep: Keep::All,
            keep_rows: Broadcast::ONE,
            sinks: None,
            fully_masked: FullyMasked::Zero,
        }
    }

    /// z = scale·x. Finite.
    ///
    /// ```
    /// # use softmax::*;
    /// let (mut x, mut same) = ([1.0_f32, 2.0], [2.0_f32, 4.0]);
    /// masked_softmax_in_place(&mut x, Rows::new(1, 2), &Mask::new().with_scale(2.0))?;
    /// softmax_in_place(&mut same);
    /// assert_eq!(x, same);
    /// # Ok::<(), Error>(())
    /// ```
    #[must_use]
    pub fn with_scale(self, scale: T::Compute) -> Self {
        Self { scale, ..self }
    }

    /// z = softcap·tanh(scale·x/softcap); 0 for none. Not negative, at most a quarter of the largest
    /// number; scale/softcap is at most half of it in magnitude.
    ///
    /// ```
    /// use softmax::{Mask, Rows, masked_softmax};
    /// // Whatever the scores, no logit exceeds 1: the odds stay within e².
    /// let mut y = [0.0_f32; 2];
    /// masked_softmax(&[1e6, -1e6], &mut y, Rows::new(1, 2), &Mask::new().with_softcap(1.0))?;
    /// assert!((y[0] / y[1] - 7.389_056).abs() < 1e-5);
    /// # Ok::<(), softmax::Error>(())
    /// ```
    #[must_use]
    pub fn with_softcap(self, softcap: T::Compute) -> Self {
        Self { softcap, ..self }
    }

    /// Adds a mask of f32, or of the type of the rows, or f16 or bf16 for rows of f32; −∞ masks.
    ///
    /// ```
    /// use softmax::{Broadcast, Mask, Rows, masked_softmax};
    /// let mask = [0.0_f32, f32::NEG_INFINITY, 0.0];
    /// let mut y = [0.0_f32; 6];
    /// let mask = Mask::new().with_additive(&mask, Broadcast::ONE);
    /// masked_softmax(&[1.0_f32; 6], &mut y, Rows::new(2, 3), &mask)?;
    /// assert_eq!(y, [0.5, 0.0, 0.5, 0.5, 0.0, 0.5]);
    /// # Ok::<(), softmax::Error>(())
    /// ```
    #[must_use]
    pub fn with_additive<A: MaskElement<T>>(self, mask: &'a [A], rows: Broadcast) -> Self {
        let additive = Some((A::values(mask), rows));
        Self { additive, ..self }
    }

    /// Multiplies the additive mask by `slope` (ALiBi). Finite. −∞ in the mask masks whatever the slope.
    ///
    /// ```
    /// use softmax::{Broadcast, Mask, Rows, masked_softmax};
    /// let distance = [-1.0_f32, 0.0];
    /// let mask = Mask::new()
    ///     .with_additive(&distance, Broadcast::ONE)
    ///     .with_alibi_slope(core::f32::consts::LN_2);
    /// let mut y = [0.0_f32; 2];
    /// masked_softmax(&[0.0, 0.0], &mut y, Rows::new(1, 2), &mask)?;
    /// assert!((y[1] / y[0] - 2.0).abs() < 1e-6);
    /// # Ok::<(), softmax::Error>(())
    /// ```
    #[must_use]
    pub fn with_alibi_slope(self, slope: T::Compute) -> Self {
        Self { slope, ..self }
    }

    /// Query q sees the columns up to q + `offset`.
    ///
    /// ```
    /// use softmax::{Mask, Rows, masked_softmax};
    /// // One cached key before the two of these queries.
    /// let mut y = [0.0_f32; 6];
    /// masked_softmax(&[0.0; 6], &mut y, Rows::new(2, 3), &Mask::new().with_causal(1))?;
    /// assert_eq!(y[..3], [0.5, 0.5, 0.0]);
    /// # Ok::<(), softmax::Error>(())
    /// ```
    #[must_use]
    pub fn with_causal(self, offset: isize) -> Self {
        let causal = Some(offset);
        Self { causal, ..self }
    }

    /// Row r is query `r % queries`; 0: row r is query r.
    ///
    /// ```
    /// use softmax::{Mask, Rows, masked_softmax};
    /// // Two heads of two queries.
    /// let mut y = [0.0_f32; 8];
    /// masked_softmax(&[0.0; 8], &mut y, Rows::new(4, 2), &Mask::new().with_causal(0).with_queries(2))?;
    /// assert_eq!(y, [1.0, 0.0, 0.5, 0.5, 1.0, 0.0, 0.5, 0.5]);
    /// # Ok::<(), softmax::Error>(())
    /// ```
    #[must_use]
    pub fn with_queries(self, queries: usize) -> Self {
        Self { queries, ..self }
    }

    /// A query sees the last `window` columns of those that it sees otherwise (causal, or all); 0: no window.
    ///
    /// ```
    /// use softmax::{Mask, Rows, masked_softmax};
    /// let mut y = [0.0_f32; 9];
    /// masked_softmax(&[0.0; 9], &mut y, Rows::new(3, 3), &Mask::new().with_causal(0).with_window(2))?;
    /// assert_eq!(y, [1.0, 0.0, 0.0, 0.5, 0.5, 0.0, 0.0, 0.5, 0.5]);
    /// # Ok::<(), softmax::Error>(())
    /// ```
    #[must_use]
    pub fn with_window(self, window: usize) -> Self {
        Self { window, ..self }
    }

    /// A row sees its first columns only, as many as its length.
    ///
    /// ```
    /// use softmax::{Broadcast, Mask, Rows, masked_softmax};
    /// let (lengths, mut y) = ([1, 2], [0.0_f32; 6]);
    /// let mask = Mask::new().with_lengths(&lengths, Broadcast::rows(1));
    /// masked_softmax(&[0.0; 6], &mut y, Rows::new(2, 3), &mask)?;
    /// assert_eq!(y, [1.0, 0.0, 0.0, 0.5, 0.5, 0.0]);
    /// # Ok::<(), softmax::Error>(())
    /// ```
    #[must_use]
    pub fn with_lengths(self, lengths: &'a [usize], rows: Broadcast) -> Self {
        let lengths = Some((lengths, rows));
        Self { lengths, ..self }
    }

    /// Only places with `true` are kept.
    ///
    /// ```
    /// use softmax::{Broadcast, Mask, Rows, masked_softmax_in_place};
    /// let mut x = [0.0_f32, f32::NAN, 0.0];
    /// let mask = Mask::new().with_keep(&[true, false, true], Broadcast::ONE);
    /// masked_softmax_in_place(&mut x, Rows::new(1, 3), &mask)?;
    /// assert_eq!(x, [0.5, 0.0, 0.5]);
    /// # Ok::<(), softmax::Error>(())
    /// ```
    #[must_use]
    pub fn with_keep(self, keep: &'a [bool], rows: Broadcast) -> Self {
        self.with_keep_bytes(crate::arch::memory::as_bytes(keep), rows)
    }

    /// Only places whose byte is not 0 are kept.
    ///
    /// ```
    /// # use softmax::*;
    /// let mut x = [3.0_f32, f32::NAN, 3.0];
    /// let mask = Mask::new().with_keep_bytes(&[1, 0, 255], Broadcast::ONE);
    /// masked_softmax_in_place(&mut x, Rows::new(1, 3), &mask)?;
    /// assert_eq!(x, [0.5, 0.0, 0.5]);
    /// # Ok::<(), Error>(())
    /// ```
    #[must_use]
    pub fn with_keep_bytes(self, keep: &'a [u8], rows: Broadcast) -> Self {
        let (keep, keep_rows) = (Keep::Bytes(keep), rows);
        Self {
            keep,
            keep_rows,
            ..self
        }
    }

    /// Only places whose bit is set are kept: column c is bit c % 8, counted from the lowest, of byte c / 8 of its row.
    /// Strides count bytes.
    ///
    /// ```
    /// use softmax::{Broadcast, Mask, Rows, masked_softmax};
    /// let mut y = [0.0_f32; 3];
    /// masked_softmax(&[0.0; 3], &mut y, Rows::new(1, 3), &Mask::new().with_keep_bits(&[0b101], Broadcast::ONE))?;
    /// assert_eq!(y, [0.5, 0.0, 0.5]);
    /// # Ok::<(), softmax::Error>(())
    /// ```
    #[must_use]
    pub fn with_keep_bits(self, keep: &'a [u8], rows: Broadcast) -> Self {
        let (keep, keep_rows) = (Keep::Bits(keep), rows);
        Self {
            keep,
            keep_rows,
            ..self
        }
    }

    /// One more logit for each row, which is not written: of a type that masks may have ([`MaskElement`]), stride 1. −∞ is
    /// none, NaN and +∞ make the row NaN, unless it is fully masked.
    ///
    /// ```
    /// use softmax::{Broadcast, Mask, Rows, masked_softmax};
    /// let mut y = [0.0_f32; 2];
    /// let mask = Mask::new().with_sinks(&[1.0_f32], Broadcast::rows(1));
    /// masked_softmax(&[1.0_f32, f32::NEG_INFINITY], &mut y, Rows::new(1, 2), &mask)?;
    /// assert_eq!(y, [0.5, 0.0]);
    /// # Ok::<(), softmax::Error>(())
    /// ```
    #[must_use]
    pub fn with_sinks<A: MaskElement<T>>(self, sinks: &'a [A], rows: Broadcast) -> Self {
        let sinks = Some((A::values(sinks), rows));
        Self { sinks, ..self }
    }

    /// The mask for a part of the rows that begins at row `first` of those that the mask is for: row r of the call is
    /// row `first` + r of every mask, and query (`first` + r) % queries. For rows that are cut between threads.
    ///
    /// ```
    /// use softmax::{Mask, Rows, masked_softmax, split_rows};
    /// let (x, mut y) = ([1.0_f32; 16], [0.0; 16]);
    /// let mask = Mask::new().with_causal(0);
    /// let [(x0, y0, rows0), (x1, y1, rows1)] = split_rows(&x, &mut y, Rows::new(4, 4), 2)?;
    /// let rest = mask.with_first_row(rows0.rows());
    /// std::thread::scope(|threads| {
    ///     let first = threads.spawn(|| masked_softmax(x0, y0, rows0, &mask));
    ///     masked_softmax(x1, y1, rows1, &rest)?;
    ///     first.join().expect("nothing panics")
    /// })?;
    /// assert_eq!(y[4..8], [0.5, 0.5, 0.0, 0.0]);
    /// assert_eq!(y[12..], [0.25; 4]);
    /// # Ok::<(), softmax::Error>(())
    /// ```
    #[must_use]
    pub fn with_first_row(self, first: usize) -> Self {
        Self { first, ..self }
    }

    /// What a row gives that has nothing visible, or nothing but −∞, with a sink or without.
    ///
    /// ```
    /// use softmax::{FullyMasked, Mask, Rows, masked_softmax};
    /// let mask = Mask::new().with_causal(-1);
    /// let mut y = [0.0_f32; 2];
    /// masked_softmax(&[5.0, 5.0], &mut y, Rows::new(1, 2), &mask)?;
    /// assert_eq!(y, [0.0, 0.0]);
    /// masked_softmax(&[5.0, 5.0], &mut y, Rows::new(1, 2), &mask.with_fully_masked(FullyMasked::Nan))?;
    /// assert!(y[0].is_nan() && y[1].is_nan());
    /// # Ok::<(), softmax::Error>(())
    /// ```
    #[must_use]
    pub fn with_fully_masked(self, fully_masked: FullyMasked) -> Self {
        Self { fully_masked, ..self }
    }

    /// The columns that row `r` of `cols` sees, the keep mask aside.
    #[inline(always)]
    pub(crate) fn visible(&self, r: usize, cols: usize) -> core::ops::Range<usize> {
        let r = self.first + r;
        let mut end = match self.causal {
            Some(offset) => causal_end(self.query(r), offset, cols),
            None => cols,
        };
        let start = if self.window > 0 {
            end.saturating_sub(self.window)
        } else {
            0
        };
        if let Some((lengths, rows)) = &self.lengths {
            end = end.min(lengths[rows.start(r)]);
        }
        start.min(end)..end
    }

    /// The query of row `r`.
    #[inline(always)]
    fn query(&self, r: usize) -> usize {
        if self.queries == 0 { r } else { r % self.queries }
    }

    /// Whether every row sees all columns, the keep mask aside.
    #[inline(always)]
    pub(crate) fn sees_all(&self) -> bool {
        self.causal.is_none() && self.window == 0 && self.lengths.is_none()
    }

    /// Whether every row sees its first columns, the keep mask aside: no window hides them.
    #[inline(always)]
    pub(crate) fn sees_first(&self) -> bool {
        self.window == 0
    }

    /// Where the columns of `cols` end that row `r` sees, and then each that follows, if the causal mask alone says so.
    #[inline(always)]
    pub(crate) fn causal_ends(&self, r: usize, cols: usize) -> Option<CausalEnds> {
        let offset = self.causal?;
        let alone = self.window == 0 && self.lengths.is_none();
        alone.then_some(CausalEnds {
            query: self.query(self.first + r),
            queries: self.queries,
            offset,
            cols,
        })
    }

    /// The additive mask of row `r`, from column `start` to `end`.
    #[inline(always)]
    pub(crate) fn additive_of(&self, r: usize, start: usize, end: usize) -> Option<MaskValues<'a, T>> {
        match &self.additive {
            Some((values, rows)) => {
                let row = rows.start(self.first + r);
                Some(values.part(row + start, row + end))
            }
            None => None,
        }
    }

    /// All values of the additive mask.
    #[inline(always)]
    pub(crate) fn values(&self) -> Option<MaskValues<'a, T>> {
        self.additive.map(|(values, _)| values)
    }

    /// The whole keep mask.
    #[inline(always)]
    pub(crate) fn kept(&self) -> Keep<'a> {
        self.keep
    }

    /// How the additive mask is shared by rows, or the keep mask if there is no other.
    #[inline(always)]
    pub(crate) fn shared(&self) -> Broadcast {
        match &self.additive {
            Some((_, rows)) => *rows,
            None => self.keep_rows,
        }
    }

    /// Whether there is no keep mask.
    pub(crate) fn keeps_all(&self) -> bool {
        matches!(self.keep, Keep::All)
    }

    /// Whether there are sinks.
    pub(crate) fn has_sinks(&self) -> bool {
        self.sinks.is_some()
    }

    /// The keep mask of row `r`, from column `start`, a multiple of 8, to `end`.
    #[inline(always)]
    pub(crate) fn keep_of(&self, r: usize, start: usize, end: usize) -> Keep<'a> {
        let row = self.keep_rows.start(self.first + r);
        match self.keep {
            Keep::All => Keep::All,
            Keep::Bytes(keep) => Keep::Bytes(&keep[row + start..row + end]),
            Keep::Bits(keep) => Keep::Bits(&keep[row + start / 8..row + end.div_ceil(8)]),
        }
    }

    /// The sink of row `r`; −∞ for none.
    #[inline(always)]
    pub(crate) fn sink_of(&self, r: usize) -> T::Compute {
        match &self.sinks {
            Some((values, rows)) => values.get(rows.start(self.first + r)),
            None => -T::Compute::INFINITY,
        }
    }

    /// Checks the parameters, and that every mask holds what `rows` need.
    pub(crate) fn check(&self, rows: &Rows) -> Result<(), Error> {
        self.check_parameters()?;
        if rows.is_empty() {
            return Ok(());
        }
        self.check_memory(rows)
    }

    fn check_parameters(&self) -> Result<(), Error> {
        let finite = |v: T::Compute| v > -T::Compute::INFINITY && v < T::Compute::INFINITY;
        // The softcap computes with twice the quotient, and with up to 2.05 times the cap.
        let half = |v: T::Compute| finite(v + v);
        let quarter = |v: T::Compute| half(v + v);
        let quotient = if self.softcap == T::Compute::ZERO {
            self.scale
        } else {
            T::Compute::quotient(self.scale, self.softcap).0
        };
        for (name, value, valid) in [
            ("scale", self.scale, finite(self.scale)),
            (
                "softcap",
                self.softcap,
                quarter(self.softcap) && self.softcap >= T::Compute::ZERO,
            ),
            ("alibi_slope", self.slope, finite(self.slope)),
            (
                "scale / softcap",
                quotient,
                self.softcap == T::Compute::ZERO || half(quotient),
            ),
        ] {
            if !valid {
                return Err(Error::Parameter {
                    name,
                    value: value.to_f64().into(),
                    range: match name {
                        "softcap" => "0 to a quarter of the largest number",
                        "scale / softcap" => "finite, and twice it too",
                        _ => "finite",
                    },
                });
            }
        }
        Ok(())
    }

    /// Of `rows` that have elements.
    fn check_memory(&self, rows: &Rows) -> Result<(), Error> {
        let cols = rows.cols();
        let Some(n) = self.first.checked_add(rows.rows()) else {
            return Err(Error::Parameter {
                name: "the first row of the mask",
                value: (self.first as f64).into(),
                range: "a number to which the rows can be added",
            });
        };
        if let Some((values, rows)) = &self.additive {
            rows.check("additive mask", values.len(), n, cols)?;
        }
        match self.keep {
            Keep::All => {}
            Keep::Bytes(keep) => self.keep_rows.check("keep mask", keep.len(), n, cols)?,
            Keep::Bits(keep) => self
                .keep_rows
                .check("keep mask (bytes of bits)", keep.len(), n, cols.div_ceil(8))?,
        }
        if let Some((values, rows)) = &self.sinks {
            rows.check("sinks", values.len(), n, 1)?;
        }
        let Some((lengths, rows)) = &self.lengths else {
            return Ok(());
        };
        rows.check("lengths", lengths.len(), n, 1)?;
        match (self.first..n).find(|&r| lengths[rows.start(r)] > cols) {
            Some(row) => {
                let length = lengths[rows.start(row)];
                let row = row - self.first;
                Err(Error::RowLength { row, length, cols })
            }
            None => Ok(()),
        }
    }
}

/// See [`Mask::causal_ends`].
pub(crate) struct CausalEnds {
    query: usize,
    /// 0 for no end of them.
    queries: usize,
    offset: isize,
    cols: usize,
}

impl CausalEnds {
    /// That of the next row: no division, which [`Mask::visible`] has.
    #[inline(always)]
    pub fn next(&mut self) -> usize {
        let end = causal_end(self.query, self.offset, self.cols);
        self.query += 1;
        if self.query == self.queries {
            self.query = 0;
        }
        end
    }
}

/// Where the columns of `cols` end that a query sees of the causal ones.
#[inline(always)]
fn causal_end(query: usize, offset: isize, cols: usize) -> usize {
    // Beyond either end of the address space is beyond either end of the row.
    let end = if offset < 0 {
        (query + 1).saturating_sub(offset.unsigned_abs())
    } else {
        (query + 1).saturating_add(offset.unsigned_abs())
    };
    end.min(cols)
}
