//! The natural logarithm of the sum of a row.

// The method and the constants are those of e_log.c of FDLIBM:
// Copyright (C) 1993 by Sun Microsystems, Inc. All rights reserved.
// Developed at SunSoft, a Sun Microsystems, Inc. business. Permission to use, copy, modify, and distribute this software is
// freely granted, provided that this notice is preserved.

/// ln of a positive normal number, below 1 ULP: the steps and the constants of `libm::log`, without what other numbers
/// need. No branch and no fused operation, so that the logarithms of many rows are computed side by side, with the same
/// bits everywhere.
///
/// x = 2^k·(1 + f), √2/2 ≤ 1 + f < √2, and with s = f/(2 + f)
///
/// ```text
/// ln x = k·ln 2 + f − f²/2 + s·(f²/2 + R(s²)),   R(z) ≈ (ln((1 + s)/(1 − s)) − 2s)/s
/// ```
#[inline(always)]
pub fn ln(x: f64) -> f64 {
    const LN_2: [f64; 2] = [6.931_471_803_691_238e-1, 1.908_214_929_270_587_7e-10];
    const R: [f64; 7] = [
        6.666_666_666_666_735e-1,
        3.999_999_999_940_942e-1,
        2.857_142_874_366_239e-1,
        2.222_219_843_214_978_4e-1,
        1.818_357_216_161_805e-1,
        1.531_383_769_920_937_3e-1,
        1.479_819_860_511_658_6e-1,
    ];
    /// The upper half of √2/2, and how far it is from that of 1.
    const LEAST: u64 = 0x3fe6_a09e << 32;
    const RAISE: u64 = (0x3ff0_0000 << 32) - LEAST;
    /// 2^52, whose lowest bits are an integer.
    const INTEGERS: u64 = 0x4330_0000_0000_0000;

    let bits = x.to_bits().wrapping_add(RAISE);
    // k + 1023 from an integer to a float, exactly.
    let k = f64::from_bits(INTEGERS | bits >> 52) - (f64::from_bits(INTEGERS) + 1023.0);
    let f = f64::from_bits((bits & 0x000f_ffff_ffff_ffff) + LEAST) - 1.0;
    let half_square = 0.5 * f * f;
    let s = f / (2.0 + f);
    let z = s * s;
    let w = z * z;
    let even = w * (R[1] + w * (R[3] + w * R[5]));
    let odd = z * (R[0] + w * (R[2] + w * (R[4] + w * R[6])));
    s * (half_square + (odd + even)) + k * LN_2[1] - half_square + f + k * LN_2[0]
}

#[cfg(test)]
mod tests {
    use super::ln;

    /// Of every octave, of places all over it and around the ends of the reduction.
    #[test]
    fn bits_of_libm() {
        for octave in 1..2047_u64 {
            for i in 0..64_u64 {
                for fraction in [
                    i << 46,
                    (i << 46).wrapping_sub(1),
                    i * 0x3_1415_9265_3589,
                    0x6_a09e << 32 | i,
                ] {
                    let x = f64::from_bits(octave << 52 | fraction & 0x000f_ffff_ffff_ffff);
                    assert_eq!(ln(x).to_bits(), libm::log(x).to_bits(), "ln {x:e}");
                }
            }
        }
        assert_eq!(ln(1.0).to_bits(), 0);
    }
}
