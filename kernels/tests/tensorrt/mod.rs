mod onnx;
use onnx::*;
use std::path::Path;
use sund_kernels::tensorrt::*;

#[test]
fn explore() {
    log_to(|s, l| if s == Severity::Error { eprintln!("LOG {s:?} {l}") });
    let path = std::env::var("SUND_TEST_TENSORRT_RTX").unwrap();
    let path = Path::new(&path);
    let lib = Library::open(Kind::Rtx, path).unwrap();
    eprintln!("{lib:?}");
    for other in [path, Path::new("/lib/x86_64-linux-gnu/libm.so.6"), Path::new("/lib/x86_64-linux-gnu/libc.so.6"), Path::new("/etc/passwd"), Path::new("/none")] {
        eprintln!("ENT {:?}", Library::open(Kind::Enterprise, other).map_err(|e| e.to_string()));
        eprintln!("RTX {:?}", Library::open(Kind::Rtx, other).map_err(|e| e.to_string()));
    }
    let opt = BuildOptions { targets: vec![86, 89, 120], ..Default::default() };
    let mut plans = vec![];
    for n in ["brain-extraction/locate", "brain-extraction/extract", "text-detection/detect"] {
        let onnx = std::fs::read(format!("{}/../agent/demo/models/{n}.onnx", env!("CARGO_MANIFEST_DIR"))).unwrap();
        for t in [vec![86, 89, 120], vec![75, 80, 86, 89, 120, 121], vec![80,86,89,120,121]] {
            let time = std::time::Instant::now();
            let plan = build(&lib, &onnx, &BuildOptions { targets: t.clone(), ..opt.clone() });
            eprintln!("BUILD {n} {t:?} {:?} {:?}", plan.as_ref().map(|p| p.len()).map_err(|e| e.to_string()), time.elapsed());
            if let Ok(p) = plan { plans.push(p) }
        }
    }
    let a = build(&lib, &network(&[0, 4], &[Node("Relu", &["x"], "y")]), &opt);
    eprintln!("DYN no profile {:?}", a.map(|p| p.len()).map_err(|e| e.to_string()));
    let p = |n: &str, min: &[i64], opt: &[i64], max: &[i64]| ProfileInput { name: n.into(), min: min.into(), opt: opt.into(), max: max.into() };
    for (what, prof) in [("ok", vec![vec![p("x", &[1, 4], &[4, 4], &[8, 4])]]), ("name", vec![vec![p("z", &[1, 4], &[4, 4], &[8, 4])]]), ("fixed", vec![vec![p("x", &[1, 5], &[4, 5], &[8, 5])]]), ("rank", vec![vec![p("x", &[1], &[4], &[8])]]), ("two", vec![vec![p("x", &[1, 4], &[1, 4], &[1, 4])], vec![p("x", &[2, 4], &[4, 4], &[8, 4])]]), ("empty", vec![vec![]])] {
        let a = build(&lib, &network(&[0, 4], &[Node("Relu", &["x"], "y")]), &BuildOptions { profiles: prof, ..opt.clone() });
        eprintln!("DYN {what} {:?}", a.as_ref().map(|p| p.len()).map_err(|e| e.to_string()));
        if let Ok(p) = a { plans.push(p) }
    }
    for (what, o) in [("garbage", b"garbage".to_vec()), ("empty", vec![]), ("unsupported", network(&[4], &[Node("NoSuchOperator", &["x"], "y")])), ("ext", with_external_file("/etc/passwd")), ("ext2", with_external_file("Cargo.toml")), ("det", network(&[4,4], &[Node("Det", &["x"], "y")]))] {
        let a = build(&lib, &o, &opt);
        eprintln!("ONNX {what} {:?}", a.map(|p| p.len()).map_err(|e| e.to_string()));
    }
    let a = build(&lib, &network(&[4], &[Node("Relu", &["x"], "y")]), &BuildOptions::default());
    eprintln!("CURRENT {:?}", a.map(|p| p.len()).map_err(|e| e.to_string()));
    let plan = plans.pop().unwrap();
    eprintln!("HEADER {:?}", &plan[..128]);
    let s = |what: &str, b: &[u8]| eprintln!("OPEN {what} {:?}", Session::open(&lib, b, b"").map(|_| ()).map_err(|e| e.to_string()));
    s("whole", &plan);
    s("half", &plan[..plan.len() / 2]);
    s("short", &plan[..plan.len() - 1]);
    s("16", &plan[..16]);
    s("0", &[]);
    s("random", &(0..100000u32).map(|i| (i.wrapping_mul(2654435761) >> 13) as u8).collect::<Vec<_>>());
    for at in [0, 4, 8, 12, 16, 20, 24,  28, 32, 40, 48, 64, plan.len() - 4] { let mut q = plan.clone(); q[at] ^= 0x55; s(&format!("flip {at}"), &q); }
}
