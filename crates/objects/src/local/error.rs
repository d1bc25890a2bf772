//! What a file system's answer means for an object.

use std::io::{Error, ErrorKind};
use std::path::Path;

use model::ports::ObjectError;

/// Too many open files in this process (`EMFILE`).
const PROCESS_FILES: i32 = 24;
/// Too many open files in the system (`ENFILE`).
const SYSTEM_FILES: i32 = 23;

/// Sorts an error by outcome and names the file.
pub(super) fn from_io(action: &'static str, path: &Path, source: Error) -> ObjectError {
    let path = path.display().to_string();
    match source.kind() {
        ErrorKind::StorageFull | ErrorKind::QuotaExceeded => ObjectError::Full { path, source },
        ErrorKind::PermissionDenied | ErrorKind::ReadOnlyFilesystem => {
            ObjectError::Denied { action, path, source }
        }
        ErrorKind::NotFound => ObjectError::NotFound { path },
        _ if passes(&source) => ObjectError::Unavailable { action, path, source: source.into() },
        _ => ObjectError::Broken { action, path, source: source.into() },
    }
}

/// Returns whether asking again may help: a network file system that was away, or no file handles left.
fn passes(error: &Error) -> bool {
    matches!(
        error.kind(),
        ErrorKind::TimedOut
            | ErrorKind::WouldBlock
            | ErrorKind::Interrupted
            | ErrorKind::ResourceBusy
            | ErrorKind::StaleNetworkFileHandle
            | ErrorKind::HostUnreachable
            | ErrorKind::NetworkUnreachable
            | ErrorKind::NetworkDown
            | ErrorKind::OutOfMemory
    ) || matches!(error.raw_os_error(), Some(PROCESS_FILES | SYSTEM_FILES))
}

#[cfg(test)]
mod tests {
    use model::{Code, Failure};
    use rustix::io::Errno;

    use super::*;

    fn check(errno: Errno, code: Code) {
        let error = from_io("write", Path::new("/d/f"), Error::from(errno));
        assert_eq!(error.code(), code, "{errno:?}: {error}");
        assert!(error.to_string().contains("`/d/f`"), "{error}");
    }

    #[test]
    fn every_errno_has_its_outcome() {
        check(Errno::NOSPC, Code::TooLarge);
        check(Errno::DQUOT, Code::TooLarge);
        check(Errno::ACCESS, Code::Forbidden);
        check(Errno::PERM, Code::Forbidden);
        check(Errno::ROFS, Code::Forbidden);
        check(Errno::NOENT, Code::NotFound);
        check(Errno::MFILE, Code::Unavailable);
        check(Errno::NFILE, Code::Unavailable);
        check(Errno::TIMEDOUT, Code::Unavailable);
        check(Errno::STALE, Code::Unavailable);
        check(Errno::IO, Code::Internal);
        check(Errno::NOTDIR, Code::Internal);
        check(Errno::ISDIR, Code::Internal);
        check(Errno::FBIG, Code::Internal);
    }
}
