use softmax_tract::{SoftmaxTransform, is_linked};
use tract_core::internal::*;
use tract_core::{ops::nn, transform::ModelTransform};

fn main() -> TractResult<()> {
    assert!(is_linked()); // f32 over the last axes: tract's registry has our kernels, no model changes

    let mut model = TypedModel::default(); // or one that tract has loaded
    let x = model.add_source("x", f16::fact([8, 4096]))?;
    let softmax = nn::Softmax::new(tvec![1], None, nn::SoftmaxKind::LogSoftmax);
    let y = model.wire_node("y", softmax, &[x])?;
    model.select_output_outlets(&y)?;
    SoftmaxTransform.transform(&mut model)?; // all float types and axes, log-softmax: our node
    let x = Tensor::zero::<f16>(&[8, 4096])?;
    assert_eq!(model.into_runnable()?.run(tvec![x.into()])?[0].shape(), [8, 4096]);
    Ok(())
}
