//! Secure monitor calls, for PDs with `smc="true"`.

use crate::Error;
use crate::message::{get_mr, invoke};
use crate::state::with;
use sel4cp_abi::slot;

/// Makes the secure monitor call with `arguments` in x0 to x7 and returns x0 to x7.
///
/// # Errors
/// The kernel's: [`Error::InvalidCapability`] if the PD may not.
pub fn smc_call(arguments: [u64; 8]) -> Result<[u64; 8], Error> {
    let label = with(|state| state.labels.get().arm_smc_call);
    invoke(slot::SMC, label, &arguments)?;
    let mut results = [0; 8];
    for (index, result) in results.iter_mut().enumerate() {
        *result = get_mr(index);
    }
    Ok(results)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::host::{self, Call};

    #[test]
    fn arguments_and_results_are_eight_words() {
        host::answer(&[8, 7, 6, 5, 4, 3, 2, 1]);
        assert_eq!(
            smc_call([1, 2, 3, 4, 5, 6, 7, 8]),
            Ok([8, 7, 6, 5, 4, 3, 2, 1])
        );
        assert_eq!(host::calls(), [Call::Smc(vec![1, 2, 3, 4, 5, 6, 7, 8])]);
        host::refuse(Error::InvalidCapability);
        assert_eq!(smc_call([0; 8]), Err(Error::InvalidCapability));
    }
}
