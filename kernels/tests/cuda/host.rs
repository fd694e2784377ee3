//! A `Machine` that runs the kernels on the processor: a child process made of their sources by g++ (host/main.cpp).
use std::cell::RefCell;
use std::collections::BTreeSet;
use std::io::{Read, Write};
use std::marker::PhantomData;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::rc::Rc;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};
use sund_kernels::KernelError;
use sund_kernels::cuda::machine::{Address, Argument, Call, Machine, Memory, Plain, bytes_of, bytes_of_mut};

#[derive(Clone, Copy, Debug)]
pub enum Sanitizer {
    AddressAndUndefined,
    Thread,
}

impl Sanitizer {
    fn flag(self) -> &'static str {
        match self {
            Self::AddressAndUndefined => "-fsanitize=address,undefined,float-cast-overflow",
            Self::Thread => "-fsanitize=thread",
        }
    }

    /// The program's path; compiled by the first test that asks for it.
    fn program(self) -> &'static Path {
        static PROGRAMS: [OnceLock<PathBuf>; 2] = [const { OnceLock::new() }; 2];
        PROGRAMS[self as usize].get_or_init(|| self.build())
    }

    /// Compiles the kernels; the program's path.
    fn build(self) -> PathBuf {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR"));
        let program = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("kernels-{self:?}"));
        let built = Command::new("g++")
            // No fused multiply-add, as on the device.
            .args([
                "-std=c++20",
                "-O1",
                "-g1",
                "-ffp-contract=off",
                "-Wall",
                "-Wextra",
                "-Werror",
                "-Wno-unknown-pragmas",
            ])
            .args([self.flag(), "-fno-sanitize-recover=all", "-pthread", "-I"])
            .args([&folder.join("cuda"), Path::new("-o"), &program, &folder.join("tests/cuda/host/main.cpp")])
            .output()
            .expect("g++ compiles the kernels for these tests");
        assert!(built.status.success(), "{}", String::from_utf8_lossy(&built.stderr));
        program
    }
}

/// The machine.
pub struct Host {
    number: u64,
    pipes: Rc<RefCell<Pipes>>,
    child: Child,
    launched: BTreeSet<String>,
}

struct Pipes {
    requests: Option<ChildStdin>,
    answers: ChildStdout,
    blocks: u64,
}

/// Values in the child's memory.
pub struct HostMemory<T> {
    pipes: Rc<RefCell<Pipes>>,
    address: Address,
    count: usize,
    kind: PhantomData<T>,
}

// SAFETY: the child holds a block of just these values until it is told to free it.
unsafe impl<T> Memory for HostMemory<T> {
    fn count(&self) -> usize {
        self.count
    }

    fn address(&self) -> Address {
        self.address
    }
}

impl<T> Drop for HostMemory<T> {
    fn drop(&mut self) {
        self.pipes.borrow_mut().send(&[b"F", &self.address.place.to_ne_bytes()]);
    }
}

impl Pipes {
    /// Nothing is sent to a child that has been told to end.
    fn send(&mut self, parts: &[&[u8]]) {
        if let Some(requests) = &mut self.requests {
            // A child that a sanitizer has ended is seen by whoever waits for its answer, or for its end.
            let _ = parts.iter().try_for_each(|part| requests.write_all(part));
        }
    }

    fn answer(&mut self, bytes: &mut [u8]) {
        if let Some(requests) = &mut self.requests {
            let _ = requests.flush();
        }
        self.answers.read_exact(bytes).expect("the program answers; if it does not, its sanitizer says above why");
    }
}

impl Host {
    pub fn start(sanitizer: Sanitizer) -> Self {
        static HOSTS: AtomicU64 = AtomicU64::new(0);
        let mut child = Command::new(sanitizer.program())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .env("TSAN_OPTIONS", "halt_on_error=1")
            .spawn()
            .unwrap();
        let pipes = Pipes { requests: child.stdin.take(), answers: child.stdout.take().unwrap(), blocks: 0 };
        Self {
            number: HOSTS.fetch_add(1, Ordering::Relaxed),
            pipes: Rc::new(RefCell::new(pipes)),
            child,
            launched: BTreeSet::new(),
        }
    }

    /// The end of the program, which leaks nothing: its sanitizer would say so.
    pub fn end(mut self) {
        self.pipes.borrow_mut().requests = None;
        assert!(self.child.wait().unwrap().success());
    }

    /// The names of the kernels that have run.
    pub fn launched(&self) -> BTreeSet<String> {
        self.launched.clone()
    }

    fn argument(&self, argument: &Argument) {
        let mut pipes = self.pipes.borrow_mut();
        match argument {
            Argument::Pointer(address) => {
                assert_eq!(address.machine, self.number, "memory of another machine");
                pipes.send(&[b"P", &address.place.to_ne_bytes()]);
            }
            Argument::Value(bytes) => pipes.send(&[b"V", &(bytes.len() as u32).to_ne_bytes(), bytes]),
        }
    }
}

impl Machine for Host {
    type Memory<T: Plain> = HostMemory<T>;
    type Error = KernelError;

    fn upload<T: Plain>(&mut self, values: &[T]) -> Result<HostMemory<T>, KernelError> {
        let bytes = bytes_of(values);
        let mut pipes = self.pipes.borrow_mut();
        pipes.send(&[b"A", &(bytes.len() as u64).to_ne_bytes(), bytes]);
        let address = Address { machine: self.number, place: pipes.blocks };
        pipes.blocks += 1;
        Ok(HostMemory { pipes: Rc::clone(&self.pipes), address, count: values.len(), kind: PhantomData })
    }

    fn zeros<T: Plain>(&mut self, count: usize) -> Result<HostMemory<T>, KernelError> {
        self.upload(&vec![T::default(); count])
    }

    fn clear<T: Plain>(&mut self, memory: &mut HostMemory<T>) -> Result<(), KernelError> {
        *memory = self.zeros(memory.count)?;
        Ok(())
    }

    fn download<T: Plain>(&mut self, memory: &HostMemory<T>) -> Result<Vec<T>, KernelError> {
        let mut values = vec![T::default(); memory.count];
        let mut pipes = self.pipes.borrow_mut();
        pipes.send(&[b"R", &memory.address.place.to_ne_bytes()]);
        pipes.answer(bytes_of_mut(&mut values));
        Ok(values)
    }

    fn launch(&mut self, call: &Call<'_>) -> Result<(), KernelError> {
        let (name, arguments) = (call.kernel(), call.arguments());
        self.pipes.borrow_mut().send(&[b"L", &(name.len() as u32).to_ne_bytes(), name.as_bytes()]);
        for number in call.blocks().into_iter().chain([call.threads(), arguments.len() as u32]) {
            self.pipes.borrow_mut().send(&[&number.to_ne_bytes()]);
        }
        for argument in arguments {
            self.argument(argument);
        }
        let mut is_known = [0];
        self.pipes.borrow_mut().answer(&mut is_known);
        assert_eq!(is_known, [1], "there is no {name} with {} arguments", arguments.len());
        self.launched.insert(name.to_owned());
        Ok(())
    }
}
