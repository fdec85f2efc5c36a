//! Models of tract with ours, linked and rewritten, against references in f64.

mod common;
use common::*;
use softmax_tract::{SoftmaxTransform, is_linked};
use tract_core::internal::*;
use tract_core::ops::nn::{self, SoftmaxKind};
use tract_core::transform::ModelTransform;

fn softmax_model(fact: TypedFact, axes: &[usize], kind: SoftmaxKind) -> TractResult<TypedModel> {
    let mut model = TypedModel::default();
    let x = model.add_source("x", fact)?;
    let y = model.wire_node("y", nn::Softmax::new(axes.into(), None, kind), &[x])?;
    model.select_output_outlets(&y)?;
    Ok(model)
}

fn ours(mut model: TypedModel) -> TractResult<TypedModel> {
    SoftmaxTransform.transform(&mut model)?;
    assert!(model.nodes().iter().any(|node| node.op_is::<softmax_tract::Softmax>()));
    assert!(!model.nodes().iter().any(|node| node.op_is::<nn::Softmax>()));
    Ok(model)
}

/// The same model as in `own.rs`.
#[test]
fn attention_with_ours() -> TractResult<()> {
    assert!(is_linked());
    // Rows of 24 take the one kernel, rows of 25 the other.
    for tokens in [TOKENS, TOKENS + 1] {
        let linked = run(attention(tokens)?, input(tokens))?;
        let rewritten = run(ours(attention(tokens)?)?, input(tokens))?;
        for (how, y) in [("linked", linked), ("rewritten", rewritten)] {
            let error = error(&y, tokens);
            println!("{how}, {tokens} tokens: {error:e}");
            assert!(error < TOLERANCE, "{how}, {tokens} tokens: {error}");
        }
    }
    Ok(())
}

/// Every element within so many units of the last place that its type has at the expected one, or at what `at` makes of
/// that.
fn check<T: Datum>(what: &str, y: &[f64], expected: &[f64], at: fn(f64) -> f64, max_ulp: f64) {
    assert_eq!(y.len(), expected.len(), "{what}");
    let (bits, smallest) = match T::datum_type() {
        DatumType::F16 => (10, -14),
        DatumType::F32 => (23, -126),
        _ => (52, -1022),
    };
    for (y, &expected) in y.iter().zip(expected) {
        let ulp = 2.0_f64.powi((at(expected).abs().log2().floor() as i32).max(smallest) - bits);
        let error = (y - expected).abs() / ulp;
        assert!(error <= max_ulp, "{what}: {y} for {expected}, {error} ULP");
    }
}

/// The elements as f64, which holds all of all types.
fn flat(t: &Tensor) -> TractResult<Vec<f64>> {
    Ok(t.cast_to::<f64>()?.try_as_plain_ram()?.as_slice::<f64>()?.to_vec())
}

#[test]
fn linked_rows() -> TractResult<()> {
    for cols in [1, 3, 4, 7, 8, 31, 64, 100, 1001, 4096] {
        let x = values(5 * cols, 9).iter().map(|x| 5.0 * x).collect::<Vec<_>>();
        let model = softmax_model(f32::fact([5, cols]), &[1], SoftmaxKind::Softmax)?;
        let y = run(model, Tensor::from_shape(&[5, cols], &x)?)?;
        let y = y.try_as_plain_ram().unwrap().as_slice::<f32>()?.to_vec();
        for (x, y) in x.chunks(cols).zip(y.chunks(cols)) {
            let row: Vec<f64> = x.iter().map(|&x| x.into()).collect();
            if cols % 4 == 0 {
                let mut alone = x.to_vec();
                softmax::softmax_in_place(&mut alone);
                assert_eq!(y, alone, "{cols} columns");
            }
            // Otherwise tract subtracts the maximum, below 20 here, and multiplies by the reciprocal of the sum.
            let y: Vec<f64> = y.iter().map(|&y| y.into()).collect();
            check::<f32>(
                "linked",
                &y,
                &softmax(&row),
                |y| y,
                if cols % 4 == 0 { 8.0 } else { 30.0 },
            );
        }
    }
    Ok(())
}

fn rewritten<T: Datum + softmax::Element>(from: impl Fn(f32) -> T) -> TractResult<()> {
    let shape = [3, 4, 5, 6];
    let x: Vec<T> = values(360, 4).iter().map(|&x| from(x)).collect();
    let tensor = Tensor::from_shape(&shape, &x)?;
    for kind in [SoftmaxKind::Softmax, SoftmaxKind::LogSoftmax] {
        for axes in [&[0][..], &[1], &[2], &[3], &[1, 2], &[3, 2], &[0, 1, 2, 3]] {
            let model = ours(softmax_model(T::fact(shape), axes, kind)?)?;
            let y = run(model, tensor.clone())?;
            let (first, last) = (*axes.iter().min().unwrap(), *axes.iter().max().unwrap());
            let product = |extents: &[usize]| extents.iter().product::<usize>();
            let axis = softmax::Axis::new(
                product(&shape[..first]),
                product(&shape[first..=last]),
                product(&shape[last + 1..]),
            );
            let mut expected = x.clone();
            match kind {
                SoftmaxKind::Softmax => softmax::softmax_axis_in_place(&mut expected, axis)?,
                SoftmaxKind::LogSoftmax => softmax::log_softmax_axis_in_place(&mut expected, axis)?,
            }
            assert_eq!(y, Tensor::from_shape(&shape, &expected)?, "{kind:?} {axes:?}");
            assert_eq!(y.datum_type(), T::datum_type());

            let (rows, results) = (rows(&flat(&tensor)?, axis), rows(&flat(&y)?, axis));
            for (x, y) in rows.iter().zip(results) {
                let (what, p) = (format!("{:?} {kind:?} {axes:?}", T::datum_type()), softmax(x));
                // In f64 the reference is no better.
                let bound = |single: f64| match T::datum_type() {
                    DatumType::F16 => 0.51,
                    DatumType::F32 => single,
                    _ => 64.0,
                };
                match kind {
                    SoftmaxKind::Softmax => check::<T>(&what, &y, &p, |y| y, bound(8.0)),
                    SoftmaxKind::LogSoftmax => {
                        let log: Vec<f64> = p.iter().map(|p| p.ln()).collect();
                        check::<T>(&what, &y, &log, |y| y.abs().max(1.0), bound(4.0));
                    }
                }
            }
        }
    }
    Ok(())
}

/// The rows along an axis.
fn rows(x: &[f64], axis: softmax::Axis) -> Vec<Vec<f64>> {
    let (len, inner) = (axis.len(), axis.inner());
    let blocks = x.chunks(len * inner);
    let row = |block: &[f64], i| block[i..].iter().copied().step_by(inner).collect();
    blocks
        .flat_map(|block| (0..inner).map(move |i| row(block, i)))
        .collect()
}

#[test]
fn rewritten_nodes_of_every_type_and_axis() -> TractResult<()> {
    rewritten::<f32>(|x| x)?;
    rewritten::<f64>(f64::from)?;
    rewritten::<f16>(f16::from_f32)
}

#[test]
fn rewritten_rows_keep_the_contract() -> TractResult<()> {
    for cols in [1, 7, 1001] {
        let x = values(4 * cols, 5).iter().map(|x| 30.0 * x).collect::<Vec<_>>();
        let model = ours(softmax_model(f32::fact([4, cols]), &[1], SoftmaxKind::Softmax)?)?;
        let y = run(model, Tensor::from_shape(&[4, cols], &x)?)?;
        let y = y.try_as_plain_ram().unwrap().as_slice::<f32>()?.to_vec();
        for (x, y) in x.chunks(cols).zip(y.chunks(cols)) {
            let row: Vec<f64> = x.iter().map(|&x| x.into()).collect();
            let expected: Vec<f64> = softmax(&row);
            let (y, expected): (Vec<_>, Vec<_>) = y
                .iter()
                .map(|&y| f64::from(y))
                .zip(expected)
                .filter(|(_, e)| *e > f64::from(f32::MIN_POSITIVE))
                .unzip();
            check::<f32>("rewritten", &y, &expected, |y| y, 8.0);
        }
    }
    let model = ours(softmax_model(f32::fact([3, 2]), &[1], SoftmaxKind::Softmax)?)?;
    let inf = f32::INFINITY;
    let y = run(model, tensor2(&[[1.0, -inf], [-inf, -inf], [f32::NAN, 0.0]]))?;
    let y = y.try_as_plain_ram().unwrap().as_slice::<f32>()?.to_vec();
    assert_eq!(y[..2], [1.0, 0.0]);
    assert!(y[2..].iter().all(|y| y.is_nan()));
    Ok(())
}

/// Softmax over two axes of a tensor whose last axis was moved to `to`, and is moved back.
fn between_moves(to: usize, axes: &[usize]) -> TractResult<TypedModel> {
    let mut model = TypedModel::default();
    let x = model.add_source("x", f32::fact([3, 5, 4]))?;
    let turned = model.wire_node("turned", AxisOp::Move(2, to), &[x])?;
    let softmax = nn::Softmax::new(axes.into(), None, SoftmaxKind::Softmax);
    let y = model.wire_node("y", softmax, &turned)?;
    let y = model.wire_node("back", AxisOp::Move(to, 2), &y)?;
    model.select_output_outlets(&y)?;
    Ok(model)
}

/// tract moves a transposition across the node, where another one undoes it; not where that pulls the axes apart.
#[test]
fn axes_follow_the_model() -> TractResult<()> {
    for (to, axes, moves) in [(0, [1, 2], 0), (1, [0, 1], 2)] {
        let x = Tensor::from_shape(&[3, 5, 4], &values(60, 6))?;
        let expected = between_moves(to, &axes)?
            .into_runnable()?
            .run(tvec![x.clone().into()])?;
        let model = ours(between_moves(to, &axes)?)?.into_decluttered()?;
        let count = |is: fn(&TypedNode) -> bool| model.nodes().iter().filter(|node| is(node)).count();
        assert_eq!(count(|node| node.op_is::<softmax_tract::Softmax>()), 1);
        assert_eq!(count(|node| node.op_is::<AxisOp>()), moves, "moved to {to}");
        run(model, x)?.close_enough(&expected[0], Approximation::Approximate)?;
    }
    Ok(())
}

#[test]
fn what_is_not_ours_stays() -> TractResult<()> {
    let mut model = softmax_model(f32::fact([2, 3, 4]), &[0, 2], SoftmaxKind::Softmax)?;
    SoftmaxTransform.transform(&mut model)?;
    assert!(model.nodes().iter().any(|node| node.op_is::<nn::Softmax>()));
    let empty = ours(softmax_model(f32::fact([2, 0]), &[1], SoftmaxKind::Softmax)?)?;
    assert_eq!(run(empty, Tensor::zero::<f32>(&[2, 0])?)?.shape(), [2, 0]);
    // An axis that the tensor does not have is an error.
    let node = softmax_tract::Softmax::new(nn::Softmax::new(tvec![3], None, SoftmaxKind::Softmax)).unwrap();
    assert!(
        node.eval(&EvalContext::out_of_plan(), tvec![tensor1(&[1.0_f32]).into()])
            .is_err()
    );
    Ok(())
}

mod readme {
    include!("../examples/readme.rs");

    #[test]
    fn the_example_runs() -> TractResult<()> {
        main()
    }

    #[test]
    fn the_readme_shows_it() {
        let example = concat!("```rust,ignore\n", include_str!("../examples/readme.rs"), "```\n");
        assert!(include_str!("../../../README.md").contains(example));
    }
}
