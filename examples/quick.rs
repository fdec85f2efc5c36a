use softmax::*;
use std::time::Instant;
fn main() {
    let only: Option<String> = std::env::args().nth(1);
    for isa in Isa::available() {
        if let Some(o) = &only {
            if isa.name() != o {
                continue;
            }
        }
        // accuracy
        let mut worst = 0.0f64;
        let mut seed = 1u64;
        let mut rnd = || {
            seed = seed.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
            (seed >> 40) as f32 / (1u64 << 24) as f32
        };
        for n in [1usize, 2, 7, 31, 32, 33, 127, 128, 129, 500, 1000, 4099] {
            for k in 0..20 {
                let s = [1.0f32, 3.0, 30.0][k % 3];
                let x: Vec<f32> = (0..n)
                    .map(|_| s * ((0..12).map(|_| rnd()).sum::<f32>() - 6.0) + if k > 10 { 1000.0 } else { 0.0 })
                    .collect();
                let mut y = vec![0.0f32; n];
                isa.softmax(&x, &mut y).unwrap();
                let m = x.iter().copied().fold(f32::MIN, f32::max) as f64;
                let sum: f64 = x.iter().map(|&v| (v as f64 - m).exp()).sum();
                for i in 0..n {
                    let r = (x[i] as f64 - m).exp() / sum;
                    if r < 1.2e-38 {
                        assert!(y[i] == 0.0 || y[i] < 1.2e-38);
                        continue;
                    }
                    let ulp = 2f64.powi((r.log2().floor() as i32) - 23);
                    let e = (y[i] as f64 - r).abs() / ulp;
                    if e > worst || e.is_nan() {
                        worst = e;
                    }
                }
                let mut z = x.clone();
                isa.softmax_in_place(&mut z).unwrap();
                assert!(z.iter().zip(&y).all(|(a, b)| a.to_bits() == b.to_bits()));
                let mut w = vec![0.0f32; n];
                if isa != Isa::Portable {
                    Isa::Scalar.softmax(&x, &mut w).unwrap();
                    assert!(
                        w.iter().zip(&y).all(|(a, b)| a.to_bits() == b.to_bits()),
                        "{isa} bits n {n}"
                    );
                }
            }
        }
        println!("{isa}: worst {worst:.2} ulp");
        if isa == Isa::Scalar {
            continue;
        }
        for (r, n) in [
            (100000usize, 8usize),
            (100000, 10),
            (65536, 32),
            (4096, 64),
            (4096, 128),
            (1024, 512),
            (256, 1000),
            (256, 2048),
            (64, 4096),
            (16, 32000),
        ] {
            let x: Vec<f32> = (0..n * r)
                .map(|_| 3.0 * ((0..12).map(|_| rnd()).sum::<f32>() - 6.0))
                .collect();
            let mut y = vec![0.0f32; n * r];
            let mut z = vec![0.0f32; n * r];
            let mut best = [f64::MAX; 3];
            for _ in 0..20 {
                let t = Instant::now();
                isa.softmax_rows(
                    std::hint::black_box(&x),
                    std::hint::black_box(&mut y[..]),
                    Rows::new(r, n),
                )
                .unwrap();
                best[0] = best[0].min(t.elapsed().as_secs_f64() / (r * n) as f64 * 1e9);
                z.copy_from_slice(&x);
                let t = Instant::now();
                isa.softmax_rows_in_place(std::hint::black_box(&mut z[..]), Rows::new(r, n))
                    .unwrap();
                best[1] = best[1].min(t.elapsed().as_secs_f64() / (r * n) as f64 * 1e9);
                let t = Instant::now();
                std::hint::black_box(&mut z).copy_from_slice(std::hint::black_box(&x));
                best[2] = best[2].min(t.elapsed().as_secs_f64() / (r * n) as f64 * 1e9);
            }
            for i in 0..r {
                let s: f64 = y[i * n..][..n].iter().map(|&v| v as f64).sum();
                assert!(
                    (s - 1.0).abs() < 1e-5,
                    "row {i} sum {s} first {:?}",
                    &y[i * n..i * n + 4]
                );
            }
            println!("  {r}x{n} {:.3} in place {:.3} copy {:.3}", best[0], best[1], best[2]);
        }
        for n in [
            8usize,
            16,
            17,
            32,
            64,
            100,
            128,
            256,
            512,
            1000,
            2048,
            4096,
            32000,
            128256,
            1 << 20,
        ] {
            let x: Vec<f32> = (0..n)
                .map(|_| 3.0 * ((0..12).map(|_| rnd()).sum::<f32>() - 6.0))
                .collect();
            let mut y = vec![0.0f32; n];
            let mut z = vec![0.0f32; n];
            let reps = (200_000 / n).max(1);
            let mut best = [f64::MAX; 3];
            for _ in 0..40 {
                let t = Instant::now();
                for _ in 0..reps {
                    isa.softmax(std::hint::black_box(&x), std::hint::black_box(&mut y[..]))
                        .unwrap();
                }
                best[0] = best[0].min(t.elapsed().as_secs_f64() / (reps * n) as f64 * 1e9);
                z.copy_from_slice(&x);
                let t = Instant::now();
                for _ in 0..reps {
                    isa.softmax_in_place(std::hint::black_box(&mut z[..])).unwrap();
                }
                best[1] = best[1].min(t.elapsed().as_secs_f64() / (reps * n) as f64 * 1e9);
                let t = Instant::now();
                for _ in 0..reps {
                    std::hint::black_box(&mut y).copy_from_slice(std::hint::black_box(&x));
                }
                best[2] = best[2].min(t.elapsed().as_secs_f64() / (reps * n) as f64 * 1e9);
            }
            println!("  {n:8} {:.3} in place {:.3} copy {:.3}", best[0], best[1], best[2]);
        }
    }
}
