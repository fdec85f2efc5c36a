use candle_core::{D, DType, Device, Result, Tensor};
use softmax_candle::{AttentionSoftmax, softmax};

fn main() -> Result<()> {
    let logits = Tensor::zeros((2, 4096), DType::BF16, &Device::Cpu)?;
    let y = softmax(&logits, D::Minus1)?; // in the place of candle_nn::ops::softmax, any dimension
    assert_eq!(y.to_dtype(DType::F64)?.sum_all()?.to_vec0::<f64>()?, 2.0);

    let scores = Tensor::randn(0.0_f32, 1.0, (1, 12, 64, 64), &Device::Cpu)?; // batch, heads, queries, keys
    let attention = AttentionSoftmax::new().with_scale(0.125).with_causal(0);
    let padding = Tensor::zeros((1, 1, 1, 64), DType::F32, &Device::Cpu)?; // −∞ hides a key
    assert_eq!(attention.forward_masked(&scores, &padding)?.dims(), scores.dims());
    Ok(())
}
