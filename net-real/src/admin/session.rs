//! The session in whose name a command changes something.

use std::time::Duration;

use mfsha_client::Client;

use super::output::{Failure, Output};

/// Ending the session may take so long.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(5);

/// Ends the session of a command that came to this.
pub async fn end<T>(
    client: &Client,
    result: Result<T, Failure>,
    output: &mut Output,
) -> Result<T, Failure> {
    let closed = client.with_timeout(CLOSE_TIMEOUT).close().await;
    match (result, closed) {
        (Err(failure), Ok(())) if failure.is_unknown() => {
            output.remark("its session is closed: if it has not happened by now, it never will");
            Err(failure)
        }
        (result, Ok(())) => result,
        (result, Err(error)) => {
            output.remark(&format!("the session could not be ended: {error}"));
            result
        }
    }
}
