//! The softmax of attention scores.

use candle_core::{CpuStorage, CustomOp1, CustomOp2, DType, Error, Layout, Result, Shape, Tensor};
use rayon::prelude::*;
use softmax::{Broadcast, FullyMasked, Mask, Rows};

use crate::backward::Backward;
use crate::element::{GRAIN, Real, wide, with_elements};
use crate::forward::Operator;
use crate::strided::{contiguous, gather};

/// softmax(softcap(scale·scores) + mask) along the last dimension, with what causality or a window hides left out: one
/// pass in the place of an affine, a broadcast addition and a softmax.
///
/// Scores have the shape (…, queries, keys). Softcap is c·tanh(·/c), or nothing for c = 0. The arithmetic is f32, for
/// the halves as well (f64 for f64), to which scale and softcap are rounded, and each probability is rounded once; the
/// bound is that of `softmax::masked_softmax`.
///
/// A masked place, where an additive mask is −∞ or a boolean one 0, or which causality or a window hides, is 0 whatever it
/// holds, NaN included. A row with nothing to see is 0 throughout, or NaN by [`with_nan_rows`](Self::with_nan_rows).
///
/// The gradient goes to the scores and, where candle tracks it, to the additive mask (a learned position bias). It is that
/// of softmax, dz_i = y_i·(dy_i − Σ_j dy_j·y_j), times scale and the slope of the softcap for the scores, and summed over
/// what the mask was broadcast to; for the halves, too, in f32. With a softcap, a NaN in a masked place gives NaN there,
/// and only there.
///
/// ```
/// use candle_core::{Device, Tensor};
/// use softmax_candle::AttentionSoftmax;
/// // One head of two queries over three keys, of which the first is cached.
/// let scores = Tensor::zeros((1, 2, 3), candle_core::DType::F32, &Device::Cpu)?;
/// let y = AttentionSoftmax::new().with_scale(0.125).with_causal(1).forward(&scores)?;
/// assert_eq!(y.to_vec3::<f32>()?[0][0], [0.5, 0.5, 0.0]);
/// # Ok::<(), candle_core::Error>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct AttentionSoftmax {
    scale: f64,
    softcap: f64,
    causal: Option<isize>,
    window: usize,
    fully_masked: FullyMasked,
}

impl Default for AttentionSoftmax {
    fn default() -> Self {
        Self::new()
    }
}

impl AttentionSoftmax {
    /// Plain softmax along the last dimension: scale 1, nothing capped or hidden.
    ///
    /// ```
    /// use candle_core::{Device, Tensor};
    /// let scores = Tensor::new(&[[5.0_f32, 5.0]], &Device::Cpu)?;
    /// let y = softmax_candle::AttentionSoftmax::new().forward(&scores)?;
    /// assert_eq!(y.to_vec2::<f32>()?, [[0.5, 0.5]]);
    /// # Ok::<(), candle_core::Error>(())
    /// ```
    pub const fn new() -> Self {
        Self {
            scale: 1.0,
            softcap: 0.0,
            causal: None,
            window: 0,
            fully_masked: FullyMasked::Zero,
        }
    }

    /// Multiplies the scores by `scale`, often 1/√(head size).
    ///
    /// ```
    /// use candle_core::{Device, Tensor};
    /// let scores = Tensor::new(&[[0.0_f32, 8.0]], &Device::Cpu)?;
    /// let y = softmax_candle::AttentionSoftmax::new().with_scale(0.0).forward(&scores)?;
    /// assert_eq!(y.to_vec2::<f32>()?, [[0.5, 0.5]]);
    /// # Ok::<(), candle_core::Error>(())
    /// ```
    #[must_use]
    pub const fn with_scale(self, scale: f64) -> Self {
        Self { scale, ..self }
    }

    /// Caps the scaled scores: c·tanh(·/c) for c = `softcap` > 0; 0 for no cap.
    ///
    /// ```
    /// use candle_core::{Device, Tensor};
    /// let scores = Tensor::new(&[[1e9_f32, 1e6]], &Device::Cpu)?;
    /// let y = softmax_candle::AttentionSoftmax::new().with_softcap(30.0).forward(&scores)?;
    /// assert_eq!(y.to_vec2::<f32>()?, [[0.5, 0.5]]);
    /// # Ok::<(), candle_core::Error>(())
    /// ```
    #[must_use]
    pub const fn with_softcap(self, softcap: f64) -> Self {
        Self { softcap, ..self }
    }

    /// Query q sees the keys up to q + `offset`: 0 for a whole sequence, the number of cached keys while decoding.
    ///
    /// ```
    /// use candle_core::{Device, Tensor};
    /// let scores = Tensor::new(&[[5.0_f32, 9.0], [5.0, 5.0]], &Device::Cpu)?;
    /// let y = softmax_candle::AttentionSoftmax::new().with_causal(0).forward(&scores)?;
    /// assert_eq!(y.to_vec2::<f32>()?, [[1.0, 0.0], [0.5, 0.5]]);
    /// # Ok::<(), candle_core::Error>(())
    /// ```
    #[must_use]
    pub const fn with_causal(self, offset: isize) -> Self {
        let causal = Some(offset);
        Self { causal, ..self }
    }

    /// A query sees the last `window` keys of those that it sees otherwise; 0: all.
    ///
    /// ```
    /// use candle_core::{Device, Tensor};
    /// let scores = Tensor::zeros((3, 3), candle_core::DType::F32, &Device::Cpu)?;
    /// let y = softmax_candle::AttentionSoftmax::new().with_causal(0).with_window(2).forward(&scores)?;
    /// assert_eq!(y.to_vec2::<f32>()?[2], [0.0, 0.5, 0.5]);
    /// # Ok::<(), candle_core::Error>(())
    /// ```
    #[must_use]
    pub const fn with_window(self, window: usize) -> Self {
        Self { window, ..self }
    }

    /// Gives NaN, as candle's own operators do, in the place of 0 for a row with nothing to see.
    ///
    /// ```
    /// use candle_core::{Device, Tensor};
    /// let scores = Tensor::new(&[[f32::NEG_INFINITY, f32::NEG_INFINITY]], &Device::Cpu)?;
    /// let attention = softmax_candle::AttentionSoftmax::new();
    /// assert_eq!(attention.forward(&scores)?.to_vec2::<f32>()?, [[0.0, 0.0]]);
    /// assert!(attention.with_nan_rows().forward(&scores)?.to_vec2::<f32>()?[0][1].is_nan());
    /// # Ok::<(), candle_core::Error>(())
    /// ```
    #[must_use]
    pub const fn with_nan_rows(self) -> Self {
        let fully_masked = FullyMasked::Nan;
        Self { fully_masked, ..self }
    }

    /// The probabilities of `scores` (…, queries, keys), of their shape and type, contiguous.
    ///
    /// # Errors
    /// If `scores` is a scalar or not f32, f64, f16 or bf16 on the CPU. If, in the type of the arithmetic, scale is not
    /// finite, softcap is not between 0 and a quarter of the largest number, a softcap that is not 0 becomes 0, or scale /
    /// softcap exceeds half of the largest number.
    ///
    /// ```
    /// use candle_core::{DType, Device, Tensor};
    /// let scores = Tensor::zeros((2, 4, 16, 16), DType::BF16, &Device::Cpu)?;
    /// let y = softmax_candle::AttentionSoftmax::new().with_causal(0).forward(&scores)?;
    /// assert_eq!((y.dims(), y.dtype()), (scores.dims(), DType::BF16));
    /// # Ok::<(), candle_core::Error>(())
    /// ```
    pub fn forward(&self, scores: &Tensor) -> Result<Tensor> {
        scores.apply_op1(*self)
    }

    /// [`forward`](Self::forward) with an additive mask: a float tensor that broadcasts to the shape of the scores, for
    /// instance (batch, 1, 1, keys) for padding. Only f64 scores read it as f64, all others as f32.
    ///
    /// # Errors
    /// As [`forward`](Self::forward), and if the mask is not of floats or does not broadcast to the shape of the scores.
    /// For a mask of u8 see [`forward_kept`](Self::forward_kept).
    ///
    /// ```
    /// use candle_core::{Device, Tensor};
    /// let scores = Tensor::new(&[[1.0_f32, 1.0, f32::NAN], [4.0, 4.0, 4.0]], &Device::Cpu)?;
    /// let mask = Tensor::new(&[0.0_f32, 0.0, f32::NEG_INFINITY], &Device::Cpu)?;
    /// let y = softmax_candle::AttentionSoftmax::new().forward_masked(&scores, &mask)?;
    /// assert_eq!(y.to_vec2::<f32>()?, [[0.5, 0.5, 0.0]; 2]);
    /// # Ok::<(), candle_core::Error>(())
    /// ```
    pub fn forward_masked(&self, scores: &Tensor, mask: &Tensor) -> Result<Tensor> {
        if !mask.dtype().is_float() {
            candle_core::bail!("{NAME}: a mask of {:?} cannot be added to scores", mask.dtype());
        }
        // Both are recorded by candle, so that the gradient of the mask comes back in its own type and shape.
        self.with_mask(scores, &mask.to_dtype(wide(scores.dtype()))?)
    }

    /// [`forward`](Self::forward) with a boolean mask: a u8 tensor that broadcasts to the shape of the scores, of which
    /// only places that are not 0 are kept. Where a model's mask says what is hidden, `mask.eq(0_u8)?` is kept.
    ///
    /// # Errors
    /// As [`forward`](Self::forward), and if `keep` is not u8 or does not broadcast to the shape of the scores.
    ///
    /// ```
    /// use candle_core::{Device, Tensor};
    /// let scores = Tensor::new(&[[1.0_f32, 1.0, f32::NAN], [4.0, 4.0, 4.0]], &Device::Cpu)?;
    /// let keep = Tensor::new(&[1_u8, 1, 0], &Device::Cpu)?;
    /// let y = softmax_candle::AttentionSoftmax::new().forward_kept(&scores, &keep)?;
    /// assert_eq!(y.to_vec2::<f32>()?, [[0.5, 0.5, 0.0]; 2]);
    /// # Ok::<(), candle_core::Error>(())
    /// ```
    pub fn forward_kept(&self, scores: &Tensor, keep: &Tensor) -> Result<Tensor> {
        if keep.dtype() != DType::U8 {
            candle_core::bail!("{NAME}: a mask of {:?}, not of U8, says what is kept", keep.dtype());
        }
        self.with_mask(scores, keep)
    }

    fn with_mask(&self, scores: &Tensor, mask: &Tensor) -> Result<Tensor> {
        let mask = mask.broadcast_as(scores.shape())?;
        let mask = match (mask.dims(), mask.stride()) {
            // The rows of the mask are read where they are; columns apart, or rows that overlap in part, are not.
            ([.., cols], [.., step]) if *cols > 1 && *step != 1 => mask.contiguous()?,
            ([.., queries, cols], [.., stride, _]) if *queries > 1 && *stride != 0 && stride < cols => {
                mask.contiguous()?
            }
            _ => mask,
        };
        scores.apply_op2(&mask, *self)
    }

    /// Scale and softcap for elements of type `T`, and what depends on no place.
    fn parameters<T: Real>(&self) -> Result<Mask<'static, T>> {
        let softcap = T::parameter(self.softcap);
        if self.softcap != 0.0 && softcap == T::parameter(0.0) {
            candle_core::bail!("{NAME}: softcap {:e} is 0 in the type of the arithmetic", self.softcap);
        }
        let mask = Mask::new()
            .with_scale(T::parameter(self.scale))
            .with_softcap(softcap)
            .with_window(self.window)
            .with_fully_masked(self.fully_masked);
        // The rows of an empty tensor would check nothing.
        softmax::masked_softmax_in_place(&mut [], Rows::new(0, 0), &mask).map_err(Error::wrap)?;
        Ok(mask)
    }

    fn run<T: Real>(
        &self,
        x: &[T],
        storage: &CpuStorage,
        layout: &Layout,
        mask: Option<(Places<'_, T::Mask>, &Layout)>,
    ) -> Result<CpuStorage> {
        let (queries, cols) = match layout.dims() {
            [] => candle_core::bail!("{NAME}: scores without a dimension"),
            [cols] => (1, *cols),
            [.., queries, cols] => (*queries, *cols),
        };
        let parameters = self.parameters::<T>()?;
        // Rows that are not contiguous are copied to where the result goes.
        let (x, mut y) = match contiguous(layout) {
            Some(places) => (Some(&x[places.clone()]), vec![T::zero(); places.len()]),
            None => (None, gather(storage, layout)?),
        };
        if y.is_empty() {
            return Ok(T::to_cpu_storage_owned(y));
        }
        let rows = GRAIN.div_ceil(cols);
        y.par_chunks_mut(rows * cols).enumerate().try_for_each(|(task, y)| {
            let first = task * rows;
            let mut done = 0;
            // The queries of one head at a time: the next head has its own part of the mask.
            while done < y.len() / cols {
                let (head, query) = ((first + done) / queries, (first + done) % queries);
                let count = (queries - query).min(y.len() / cols - done);
                let y = &mut y[done * cols..][..count * cols];
                let start = (first + done) * cols;
                let x = x.map(|x| &x[start..start + count * cols]);
                let mut seen = parameters;
                if let Some(offset) = self.causal {
                    seen = seen.with_causal(offset.saturating_add_unsigned(query));
                }
                if let Some((places, layout)) = mask {
                    let (start, rows) = part(layout, head, query);
                    seen = match places {
                        Places::Added(values) => seen.with_additive(&values[start..], rows),
                        Places::Kept(bytes) => seen.with_keep_bytes(&bytes[start..], rows),
                    };
                }
                let rows = Rows::new(count, cols);
                match x {
                    Some(x) => softmax::masked_softmax(x, y, rows, &seen),
                    None => softmax::masked_softmax_in_place(y, rows, &seen),
                }
                .map_err(Error::wrap)?;
                done += count;
            }
            Ok::<_, Error>(())
        })?;
        Ok(T::to_cpu_storage_owned(y))
    }

    /// The gradient of the masked scores, in the type of the arithmetic, and that of the scores.
    fn gradients(&self, scores: &Tensor, y: &Tensor, dy: &Tensor) -> Result<(Tensor, Tensor)> {
        let (dtype, wide) = (scores.dtype(), wide(scores.dtype()));
        if scores.elem_count() == 0 {
            return Ok((y.to_dtype(wide)?, y.zeros_like()?));
        }
        let dy = dy.contiguous()?.to_dtype(wide)?;
        let dz = y.to_dtype(wide)?.apply_op2_no_bwd(&dy, &Backward(Operator::Softmax))?;
        if self.softcap == 0.0 {
            let dx = dz.affine(self.scale, 0.0)?.to_dtype(dtype)?;
            return Ok((dz, dx));
        }
        // d/dx c·tanh v = scale·(1 − tanh² v) for v = scale·x/c: without the difference, e/((1 + e)/2)² for e = exp(−2|v|).
        let rate = -2.0 * (self.scale / self.softcap).abs();
        let e = scores.to_dtype(wide)?.abs()?.affine(rate, 0.0)?.exp()?;
        let slope = (&e / e.affine(0.5, 0.5)?.sqr()?)?.affine(self.scale, 0.0)?;
        let dx = (&dz * slope)?.to_dtype(dtype)?;
        Ok((dz, dx))
    }
}

const NAME: &str = "attention-softmax";

/// The values of a mask that is broadcast to the scores.
#[derive(Clone, Copy)]
enum Places<'a, M> {
    Added(&'a [M]),
    /// Where they are not 0.
    Kept(&'a [u8]),
}

/// Where row `query` of head number `head` of a mask starts, and how the rows behind it follow; head and query are indices
/// of the scores.
fn part(layout: &Layout, mut head: usize, query: usize) -> (usize, Broadcast) {
    let (dims, strides) = (layout.dims(), layout.stride());
    let outer = dims.len().saturating_sub(2);
    // The stride of a single row says nothing: candle gives it any.
    let stride = if dims.len() < 2 || dims[outer] == 1 {
        0
    } else {
        strides[outer]
    };
    let mut start = layout.start_offset() + query * stride;
    for d in (0..outer).rev() {
        start += head % dims[d] * strides[d];
        head /= dims[d];
    }
    (start, Broadcast::rows(stride))
}

impl CustomOp1 for AttentionSoftmax {
    fn name(&self) -> &'static str {
        NAME
    }

    fn cpu_fwd(&self, storage: &CpuStorage, layout: &Layout) -> Result<(CpuStorage, Shape)> {
        let y = with_elements!(storage, NAME, |x| self.run(x, storage, layout, None)?);
        Ok((y, layout.shape().clone()))
    }

    fn bwd(&self, scores: &Tensor, y: &Tensor, dy: &Tensor) -> Result<Option<Tensor>> {
        Ok(Some(self.gradients(scores, y, dy)?.1))
    }
}

impl CustomOp2 for AttentionSoftmax {
    fn name(&self) -> &'static str {
        NAME
    }

    fn cpu_fwd(
        &self,
        storage: &CpuStorage,
        layout: &Layout,
        mask: &CpuStorage,
        mask_layout: &Layout,
    ) -> Result<(CpuStorage, Shape)> {
        fn masked<T: Real>(
            op: &AttentionSoftmax,
            x: &[T],
            scores: (&CpuStorage, &Layout),
            mask: (&CpuStorage, &Layout),
        ) -> Result<CpuStorage> {
            let places = match mask.0 {
                CpuStorage::U8(bytes) => Places::Kept(&bytes[..]),
                values => Places::Added(candle_core::WithDType::cpu_storage_as_slice(values)?),
            };
            op.run(x, scores.0, scores.1, Some((places, mask.1)))
        }
        let (scores, mask) = ((storage, layout), (mask, mask_layout));
        let y = with_elements!(storage, NAME, |x| masked(self, x, scores, mask)?);
        Ok((y, layout.shape().clone()))
    }

    fn bwd(&self, scores: &Tensor, mask: &Tensor, y: &Tensor, dy: &Tensor) -> Result<(Option<Tensor>, Option<Tensor>)> {
        let (dz, dx) = self.gradients(scores, y, dy)?;
        let is_learned = mask.dtype().is_float() && mask.track_op();
        Ok((Some(dx), is_learned.then_some(dz)))
    }
}
