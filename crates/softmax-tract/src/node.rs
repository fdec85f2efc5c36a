//! Softmax as a node of a model, and the transform that puts it there.

use tract_core::internal::*;
use tract_core::model::Rewriter;
use tract_core::ops::nn::{Softmax as TractSoftmax, SoftmaxKind};
use tract_core::transform::ModelTransform;
use tract_linalg::multithread::par_chunks_mut;

/// The softmax or log-softmax of tract, computed by the `softmax` crate.
///
/// y_i = e^{x_i} / Σ_j e^{x_j}, or x_i − ln Σ_j e^{x_j}, over the elements along the axes of tract's node, which must
/// follow one another (several of them are one long row). Inputs are f32, f64 or f16, of any shape; the output has
/// their shape and type. Each row has the bounds, the special cases and the bits of `softmax::softmax`.
///
/// Models get it by [`SoftmaxTransform`].
///
/// ```
/// use softmax_tract::Softmax;
/// use tract_core::internal::*;
/// use tract_core::ops::nn::{self, SoftmaxKind};
/// let node = Softmax::new(nn::Softmax::new(tvec![0], None, SoftmaxKind::Softmax)).expect("a float softmax");
/// let y = node.eval(&EvalContext::out_of_plan(), tvec![tensor1(&[7.0_f64, 7.0]).into()])?;
/// assert_eq!(*y[0], tensor1(&[0.5_f64, 0.5]));
/// // Axes that do not follow one another.
/// assert!(Softmax::new(nn::Softmax::new(tvec![0, 2], None, SoftmaxKind::Softmax)).is_none());
/// # TractResult::Ok(())
/// ```
#[derive(Clone, Debug, Hash, PartialEq, Eq)]
pub struct Softmax {
    node: TractSoftmax,
    first: usize,
    last: usize,
}

impl Softmax {
    /// The same as tract's node, or `None` where it is quantized, or its axes do not follow one another.
    ///
    /// ```
    /// use tract_core::internal::*;
    /// use tract_core::ops::nn::{self, SoftmaxKind};
    /// let tracts = nn::Softmax::new(tvec![2, 1], None, SoftmaxKind::LogSoftmax);
    /// assert!(softmax_tract::Softmax::new(tracts).is_some());
    /// ```
    pub fn new(node: TractSoftmax) -> Option<Self> {
        let (&first, &last) = (node.axes.iter().min()?, node.axes.iter().max()?);
        let whole = (first..=last).all(|axis| node.axes.contains(&axis));
        (whole && node.quant_output_dt.is_none()).then_some(Self { node, first, last })
    }

    fn run<T: Datum + softmax::Element>(&self, mut x: Tensor) -> TractResult<Tensor> {
        ensure!(
            self.last < x.rank(),
            "softmax along axis {} of a tensor of rank {}",
            self.last,
            x.rank()
        );
        let extent = |axes: std::ops::Range<usize>| x.shape()[axes].iter().product::<usize>();
        let (len, inner) = (extent(self.first..self.last + 1), extent(self.last + 1..x.rank()));
        let block = len * inner;
        if x.len() == 0 {
            return Ok(x);
        }
        let total = x.len();
        let mut plain = x.try_as_plain_ram_mut()?;
        let elements = plain.as_slice_mut::<T>()?;
        par_chunks_mut(elements, block, total, |_, chunk| {
            let axis = softmax::Axis::new(chunk.len() / block, len, inner);
            Ok(match self.node.kind {
                SoftmaxKind::Softmax => softmax::softmax_axis_in_place(chunk, axis),
                SoftmaxKind::LogSoftmax => softmax::log_softmax_axis_in_place(chunk, axis),
            }?)
        })?;
        Ok(x)
    }
}

impl Op for Softmax {
    fn name(&self) -> StaticName {
        match self.node.kind {
            SoftmaxKind::Softmax => "SoftmaxCrateSoftmax".into(),
            SoftmaxKind::LogSoftmax => "SoftmaxCrateLogSoftmax".into(),
        }
    }

    fn info(&self) -> TractResult<Vec<String>> {
        self.node.info()
    }

    op_as_typed_op!();
}

impl EvalOp for Softmax {
    op_out_of_plan!();

    fn eval(&self, ctx: &EvalContext, inputs: TVec<TValue>) -> TractResult<TVec<TValue>> {
        // A tensor that is not laid out in the order of its axes is tract's own affair.
        if inputs[0].strides() != &*Tensor::natural_strides(inputs[0].shape()) {
            return self.node.eval(ctx, inputs);
        }
        let x = args_1!(inputs).into_tensor();
        let y = match x.datum_type() {
            DatumType::F32 => self.run::<f32>(x),
            DatumType::F64 => self.run::<f64>(x),
            DatumType::F16 => self.run::<f16>(x),
            other => bail!("softmax of {other:?}"),
        }?;
        Ok(tvec![y.into_tvalue()])
    }
}

impl TypedOp for Softmax {
    fn output_facts(&self, inputs: &[&TypedFact]) -> TractResult<TVec<TypedFact>> {
        self.node.output_facts(inputs)
    }

    fn input_roi(&self, model: &TypedModel, node: &TypedNode) -> TractResult<Option<TVec<Option<TDim>>>> {
        self.node.input_roi(model, node)
    }

    fn axes_mapping(&self, inputs: &[&TypedFact], outputs: &[&TypedFact]) -> TractResult<AxesMapping> {
        self.node.axes_mapping(inputs, outputs)
    }

    fn change_axes(
        &self,
        model: &TypedModel,
        node: &TypedNode,
        _io: InOut,
        change: &AxisOp,
    ) -> TractResult<Option<AxisChangeConsequence>> {
        let axes: Option<TVec<usize>> = self.node.axes.iter().map(|&axis| change.transform_axis(axis)).collect();
        // A change that pulls the axes apart is refused, and made beside the node.
        let changed = axes.and_then(|axes| {
            Self::new(TractSoftmax {
                axes,
                ..self.node.clone()
            })
        });
        Ok(changed.map(|op| AxisChangeConsequence::new(model, node, Some(Box::new(op)), change)))
    }

    as_op!();
}

/// Replaces the float softmax and log-softmax nodes of a model by [`Softmax`].
///
/// The last of the transforms: tract's own know its own node, and a model that is written to a file must hold that.
/// Quantized nodes, and nodes whose axes do not follow one another, stay as they are.
///
/// ```
/// use tract_core::internal::*;
/// use tract_core::ops::nn::{Softmax, SoftmaxKind};
/// use tract_core::transform::ModelTransform;
/// let mut model = TypedModel::default();
/// let x = model.add_source("x", f16::fact([3, 5]))?;
/// let y = model.wire_node("y", Softmax::new(tvec![0], None, SoftmaxKind::LogSoftmax), &[x])?;
/// model.select_output_outlets(&y)?;
/// softmax_tract::SoftmaxTransform.transform(&mut model)?;
/// assert!(model.nodes().iter().any(|node| node.op_is::<softmax_tract::Softmax>()));
/// # TractResult::Ok(())
/// ```
#[derive(Clone, Copy, Debug, Default)]
pub struct SoftmaxTransform;

impl ModelTransform for SoftmaxTransform {
    fn name(&self) -> StaticName {
        "softmax-crate".into()
    }

    fn transform(&self, model: &mut TypedModel) -> TractResult<()> {
        let rule = |_: &(), model: &TypedModel, node: &TypedNode, _: &str, op: &TractSoftmax| {
            let ours = Softmax::new(op.clone());
            ours.map(|ours| TypedModelPatch::replace_single_op(model, node, &node.inputs, ours))
                .transpose()
        };
        Rewriter::default()
            .with_rule_for("softmax-crate", rule)
            .rewrite(&(), model)
    }
}
