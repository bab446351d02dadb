//! How much one evaluation may use. What is not here: time, because the result must not depend on the machine.

use starlark::eval::Evaluator;

/// The limits of one evaluation: of one package, one loaded file, or one rule's implementation.
///
/// They keep a mistake from taking the machine with it. They are checked between statements, so that one single
/// operation (`"a" * 1000000000`) can still take more memory than `heap_bytes` before it is noticed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Function calls and turns of loops.
    pub ticks: u64,
    /// Bytes of Starlark values.
    pub heap_bytes: usize,
    /// Calls inside calls. Each takes a few KiB of the thread's own stack, so that more than some hundreds need
    /// threads with larger stacks than the default of 2 MiB.
    pub stack_depth: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self { ticks: 20_000_000, heap_bytes: 512 << 20, stack_depth: 100 }
    }
}

impl Limits {
    pub(crate) fn apply(&self, eval: &mut Evaluator<'_, '_, '_>) {
        // Each fails only when it is zero or set twice; zero is raised to one here.
        eval.set_max_tick_count(self.ticks.max(1)).expect("the limit is set once");
        eval.set_max_heap_size(self.heap_bytes.max(1)).expect("the limit is set once");
        // One frame is the module itself, one the first call.
        eval.set_max_callstack_size(self.stack_depth.max(1) + 2).expect("the limit is set once");
    }
}
