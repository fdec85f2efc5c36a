//! One row that comes in tiles: e = e^(x − offset)·2^−N of a tile under a given shift, with its sum, and the quotients
//! once the sum of all tiles is known.
//!
//! # The error bounds
//! In u = 2^−24 and ULP; figures in parentheses are those of `Portable`. A weight of f32 is what the core gives, within
//! 1.16 ULP (2.1u), unless max is subtracted: 2 ULP (4) are stated. From |max| = 16384 (256) to 2^30 it is e^(x − max), by the
//! core, times e^(max − shift·ln 2), which is between √½ and √2 and rounded to f32. There x − max is a multiple of 2^−10 and
//! above −70, or the weight is 0: with all of these and any such factor the core and the factor are 2.39 ULP off at most, and
//! the product rounds once, 0.5 ULP unless it carries over a power of two: 2.89 of the 3 stated. (2.1u + 1u + 0.5 ULP: 3.6 of
//! the 4.)
//!
//! ln Σ e^x has the error of the sum, 1.93u of e^x and 3u of three additions (2.1u + 3u), or 2.47 ULP of max(1, |result|)
//! (2.55), of which one is 2u at least; the rest is f64, and rounds to f32: 2.97 ULP (3.05) of the 4 stated. The quotients have
//! the errors of softmax: tiles are joined, and factors taken out, in f64.

use super::passes::{Quotient, map, map_sum};
use super::primitives::Pass;
use super::row::{Read, Row};
use super::softmax::fill;
use super::{Kernel, Place};
use crate::arch::memory::Cells;
use crate::element::{Element, Float};
use crate::lanes::Memory;
use crate::math::exp::{Shift, exp};

/// Terms below 2^−100 are 0, where 2^0 is about the largest: far below what a sum can show, and far enough above the
/// smallest normal number that no step of the exponential is subnormal.
const NEGLIGIBLE: f64 = 1.0 / (1_u128 << 100) as f64;

/// The terms of a tile under `shift`, whose largest is about 1, and their sum.
pub struct Tile<'a, T: Element> {
    pub row: Pass<'a, T>,
    pub shift: Shift<T::Compute>,
    pub sum: &'a mut <T::Compute as Float>::Sum,
}

impl<T: Element> Kernel<T> for Tile<'_, T> {
    #[inline(always)]
    fn run<L: Memory<T> + Memory<T::Compute>>(self, lanes: L) {
        *self.sum = match self.row {
            Pass::Read(x) => terms(lanes, Read(x), &self.shift),
            Pass::Write(place) => terms(lanes, place.cells(), &self.shift),
        };
    }
}

#[inline(always)]
fn terms<T: Element, L: Memory<T>>(
    lanes: L,
    row: impl Row<T, T>,
    shift: &Shift<T::Compute>,
) -> <T::Compute as Float>::Sum {
    let core = T::Compute::core(L::FUSED);
    let (splat, negligible) = (shift.splat(lanes), lanes.splat(T::Compute::from_f64(NEGLIGIBLE)));
    map_sum::<T, T, L>(
        lanes,
        row,
        #[inline(always)]
        |_, x| {
            let ([e], _) = exp::<_, L, 1, true>(lanes, core, &splat, [x]);
            let e = lanes.zero_below(e, e, negligible);
            (e, e)
        },
    )
}

/// A shift, and Σe under it.
pub type Terms<F> = (Shift<F>, <F as Float>::Sum);

/// e/S of elements of the row; NaN without terms. An element above `max` counts as `max`.
pub struct Finish<'a, T: Element> {
    pub place: Place<'a, T>,
    pub max: T::Compute,
    pub terms: Option<Terms<T::Compute>>,
}

impl<T: Element> Kernel<T> for Finish<'_, T> {
    #[inline(always)]
    fn run<L: Memory<T> + Memory<T::Compute>>(self, lanes: L) {
        let mut cells = self.place.cells();
        match self.terms {
            Some(terms) => quotients(lanes, cells, self.max, &terms),
            None => fill(cells.output(), T::NAN),
        }
    }
}

#[inline(always)]
fn quotients<T: Element, L: Memory<T> + Memory<T::Compute>>(
    lanes: L,
    row: Cells<'_, T>,
    max: T::Compute,
    (shift, sum): &Terms<T::Compute>,
) {
    let core = T::Compute::core(L::FUSED);
    let (splat, max, quotient) = (shift.splat(lanes), lanes.splat(max), Quotient::new(lanes, *sum));
    map::<T, T, L>(
        lanes,
        row,
        #[inline(always)]
        |x| {
            let ([e], _) = exp::<_, L, 1, true>(lanes, core, &splat, [lanes.min(max, x)]);
            quotient.of(lanes, e)
        },
    );
}
