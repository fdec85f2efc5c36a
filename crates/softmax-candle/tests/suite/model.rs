//! BERT: candle's own model against the same network with our softmax, by the same weights.

use candle_core::{D, DType, Device, Module, Result, Tensor};
use candle_nn::{Init, Linear, VarBuilder, VarMap, embedding, linear};
use candle_transformers::models::bert::{BertModel, Config};
use softmax_candle::{AttentionSoftmax, softmax, softmax_last_dim};

use crate::support::{distance, tensor};

fn config() -> Config {
    Config {
        vocab_size: 99,
        hidden_size: 48,
        num_hidden_layers: 3,
        num_attention_heads: 4,
        intermediate_size: 96,
        max_position_embeddings: 40,
        ..Config::default()
    }
}

/// The scaled scores and the additive mask, to the probabilities.
type Attend = fn(&Tensor, f64, &Tensor) -> Result<Tensor>;

/// The layer norm whose operators have gradients: that of `candle_nn::LayerNorm` has none where it has a bias.
struct Norm {
    weight: Tensor,
    bias: Tensor,
    eps: f32,
}

impl Norm {
    fn load(size: usize, eps: f64, vb: VarBuilder) -> Result<Self> {
        let eps = eps as f32;
        let weight = vb.get_with_hints(size, "weight", Init::Const(1.0))?;
        let bias = vb.get_with_hints(size, "bias", Init::Const(0.0))?;
        Ok(Self { weight, bias, eps })
    }

    fn forward(&self, x: &Tensor) -> Result<Tensor> {
        candle_nn::ops::layer_norm_slow(x, &self.weight, &self.bias, self.eps)
    }
}

struct Layer {
    query: Linear,
    key: Linear,
    value: Linear,
    output: (Linear, Norm),
    intermediate: Linear,
    last: (Linear, Norm),
}

/// The names and the arithmetic of `candle_transformers`, with the softmax as a parameter.
struct Bert {
    embeddings: [candle_nn::Embedding; 3],
    norm: Norm,
    layers: Vec<Layer>,
    heads: usize,
}

impl Bert {
    fn load(vb: VarBuilder, c: &Config) -> Result<Self> {
        let (h, eps) = (c.hidden_size, c.layer_norm_eps);
        let e = vb.pp("embeddings");
        let table = |n, name| embedding(n, h, e.pp(name));
        let layer = |i| {
            let l = vb.pp("encoder.layer").pp(i);
            let (s, o) = (l.pp("attention.self"), l.pp("attention.output"));
            Ok(Layer {
                query: linear(h, h, s.pp("query"))?,
                key: linear(h, h, s.pp("key"))?,
                value: linear(h, h, s.pp("value"))?,
                output: (linear(h, h, o.pp("dense"))?, Norm::load(h, eps, o.pp("LayerNorm"))?),
                intermediate: linear(h, c.intermediate_size, l.pp("intermediate.dense"))?,
                last: (
                    linear(c.intermediate_size, h, l.pp("output.dense"))?,
                    Norm::load(h, eps, l.pp("output.LayerNorm"))?,
                ),
            })
        };
        Ok(Self {
            embeddings: [
                table(c.vocab_size, "word_embeddings")?,
                table(c.max_position_embeddings, "position_embeddings")?,
                table(c.type_vocab_size, "token_type_embeddings")?,
            ],
            norm: Norm::load(h, eps, e.pp("LayerNorm"))?,
            layers: (0..c.num_hidden_layers).map(layer).collect::<Result<_>>()?,
            heads: c.num_attention_heads,
        })
    }

    fn forward(&self, ids: &Tensor, types: &Tensor, mask: &Tensor, attend: Attend) -> Result<Tensor> {
        let (batch, tokens) = ids.dims2()?;
        let [words, positions, kinds] = &self.embeddings;
        let places = Tensor::arange(0, tokens as u32, ids.device())?;
        let x = (words.forward(ids)? + kinds.forward(types)?)?;
        let mut x = self.norm.forward(&x.broadcast_add(&positions.forward(&places)?)?)?;
        let scale = 1.0 / ((x.dim(2)? / self.heads) as f64).sqrt();
        for layer in &self.layers {
            let heads = |t: Tensor| {
                t.reshape((batch, tokens, self.heads, ()))?
                    .transpose(1, 2)?
                    .contiguous()
            };
            let q = heads(layer.query.forward(&x)?)?;
            let k = heads(layer.key.forward(&x)?)?;
            let v = heads(layer.value.forward(&x)?)?;
            let p = attend(&q.matmul(&k.t()?)?, scale, mask)?;
            let context = p.matmul(&v)?.transpose(1, 2)?.contiguous()?.flatten_from(2)?;
            let attended = layer.output.1.forward(&(layer.output.0.forward(&context)? + &x)?)?;
            let inner = layer.intermediate.forward(&attended)?.gelu_erf()?;
            x = layer.last.1.forward(&(layer.last.0.forward(&inner)? + attended)?)?;
        }
        Ok(x)
    }
}

fn separate(scores: &Tensor, scale: f64, mask: &Tensor) -> Result<Tensor> {
    softmax(&scores.affine(scale, 0.0)?.broadcast_add(mask)?, D::Minus1)
}

fn last_dim(scores: &Tensor, scale: f64, mask: &Tensor) -> Result<Tensor> {
    softmax_last_dim(&scores.affine(scale, 0.0)?.broadcast_add(mask)?)
}

fn fused(scores: &Tensor, scale: f64, mask: &Tensor) -> Result<Tensor> {
    AttentionSoftmax::new().with_scale(scale).forward_masked(scores, mask)
}

fn candles_own(scores: &Tensor, scale: f64, mask: &Tensor) -> Result<Tensor> {
    candle_nn::ops::softmax(&scores.affine(scale, 0.0)?.broadcast_add(mask)?, D::Minus1)
}

#[test]
fn bert() -> Result<()> {
    let (config, device) = (config(), Device::Cpu);
    let weights = VarMap::new();
    let vb = VarBuilder::from_varmap(&weights, DType::F32, &device);
    let theirs = BertModel::load(vb.clone(), &config)?;
    let ours = Bert::load(vb, &config)?;
    // Weights that make the heads attend to something: those of the initialisation are nearly 0.
    for (i, (name, var)) in weights.data().lock().unwrap().iter().enumerate() {
        if !name.contains("LayerNorm") {
            var.set(&tensor(var.dims(), 0.3 + 0.01 * (i % 7) as f64, DType::F32)?)?;
        }
    }

    let (batch, tokens) = (3_u32, 33_u32);
    let ids: Vec<u32> = (0..batch * tokens).map(|i| i * 7919 % 99).collect();
    let ids = Tensor::from_vec(ids, (batch as usize, tokens as usize), &device)?;
    let types = ids.zeros_like()?;
    // Sequences of different lengths, padded.
    let lengths = [33, 20, 5];
    let keep: Vec<u32> = (0..batch * tokens)
        .map(|i| u32::from(i % tokens < lengths[(i / tokens) as usize]))
        .collect();
    let keep = Tensor::from_vec(keep, ids.dims(), &device)?;
    let expected = theirs.forward(&ids, &types, Some(&keep))?;

    let bias = ((keep.to_dtype(DType::F32)? - 1.0)? * f64::from(f32::MAX))?
        .unsqueeze(1)?
        .unsqueeze(1)?;
    let own = ours.forward(&ids, &types, &bias, candles_own)?;
    println!("our network with candle's softmax: {:e}", distance(&own, &expected)?);
    for (name, attend) in [
        ("softmax", separate as Attend),
        ("softmax_last_dim", last_dim),
        ("attention", fused),
    ] {
        let y = ours.forward(&ids, &types, &bias, attend)?;
        let error = distance(&y, &expected)?;
        println!("{name}: {error:e}");
        // Outputs of a layer norm, of order 1, after three layers.
        assert!(error < 1e-4, "{name}: {error}");
        assert!(distance(&y, &own)? < 1e-4, "{name}");
    }
    Ok(())
}

/// A step of training: the gradients of all weights.
#[test]
fn gradients_of_bert() -> Result<()> {
    let (config, device) = (config(), Device::Cpu);
    let weights = VarMap::new();
    let model = Bert::load(VarBuilder::from_varmap(&weights, DType::F64, &device), &config)?;
    let ids = Tensor::arange(0_u32, 40, &device)?.reshape((2, 20))?;
    let (types, mask) = (ids.zeros_like()?, Tensor::zeros((2, 1, 1, 20), DType::F64, &device)?);
    let step = |attend| {
        model
            .forward(&ids, &types, &mask, attend)?
            .sqr()?
            .sin()?
            .sum_all()?
            .backward()
    };
    let expected = step(candles_own)?;
    for attend in [separate as Attend, fused] {
        let gradients = step(attend)?;
        let mut compared = 0;
        for var in weights.all_vars() {
            let (Some(ours), Some(theirs)) = (gradients.get(&var), expected.get(&var)) else {
                continue;
            };
            assert!(distance(ours, theirs)? < 1e-11);
            compared += 1;
        }
        assert_eq!(compared, weights.all_vars().len());
    }
    Ok(())
}
