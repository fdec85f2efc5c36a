//! e^x itself, by the finer core.
//!
//! 2^n is applied as two factors, 2^h with h = rint(n/2) and 2^(n − h), so that neither overflows nor underflows before
//! the result does.

use super::passes::map;
use super::{Kernel, Place};
use crate::element::{Element, Float};
use crate::lanes::{Lanes, Memory};

/// e^x of each element.
pub struct Exp<'a, T>(pub Place<'a, T>);

impl<T: Element> Kernel<T> for Exp<'_, T> {
    #[inline(always)]
    fn run<L: Memory<T> + Memory<T::Compute>>(self, lanes: L) {
        map::<T, T, L>(
            lanes,
            self.0.cells(),
            #[inline(always)]
            |x| vector(lanes, x),
        );
    }
}

/// e^x: 0 where it is below 2^−126 (f64: 2^−1022), +∞ where it overflows, NaN of NaN.
#[inline(always)]
pub fn vector<F: Float, L: Lanes<F>>(lanes: L, x: L::V) -> L::V {
    let core = F::fine_core(L::FUSED);
    let (smallest, round) = (lanes.splat(F::EXP_SMALLEST), lanes.splat(F::ROUND));
    let biased = lanes.splat(F::ROUND + F::from_i32(F::BIAS));
    let inside = lanes.min(lanes.splat(F::EXP_OVERFLOW), lanes.max(smallest, x));
    let n = lanes.sub(lanes.mul_add(inside, lanes.splat(core.per_ln2), round), round);
    let r = lanes.neg_mul_add(n, lanes.splat(core.ln2_high), inside);
    let r = lanes.neg_mul_add(n, lanes.splat(core.ln2_low), r);
    let h = lanes.sub(lanes.mul_add(n, lanes.splat(F::from_f64(0.5)), round), round);
    let [e] = F::combine(lanes, core, [lanes.add(lanes.sub(n, h), biased)], [r]);
    let e = lanes.mul(e, lanes.shl_exponent(lanes.add(h, biased)));
    lanes.zero_below(e, x, smallest)
}

/// e^d by the same core, one scale less: 0 where it is below 2^−126, +∞ from 2^127.5 (f64: 2^−1022, 2^1023.5) on, NaN
/// of NaN.
#[inline(always)]
pub fn of_difference<F: Float, L: Lanes<F>>(lanes: L, d: L::V) -> L::V {
    let core = F::fine_core(L::FUSED);
    let smallest = lanes.splat(F::EXP_SMALLEST);
    let biased = lanes.splat(F::ROUND + F::from_i32(F::BIAS));
    // At the upper end the exponent field is full: the scale is ∞.
    let inside = lanes.min(lanes.splat(F::EXP_OVERFLOW), lanes.max(smallest, d));
    let t = lanes.mul_add(inside, lanes.splat(core.per_ln2), biased);
    let n = lanes.sub(t, biased);
    let r = lanes.neg_mul_add(n, lanes.splat(core.ln2_high), inside);
    let r = lanes.neg_mul_add(n, lanes.splat(core.ln2_low), r);
    let [e] = F::combine(lanes, core, [t], [r]);
    lanes.zero_below(e, d, smallest)
}
