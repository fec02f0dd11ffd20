//! Whole kernels on a fake machine: what threads see of messages, budgets, faults and invocations.

mod fake;
mod faults;
mod hostile;
mod invocations;
mod messages;
mod scheduling;
