//! Opens listening sockets, with errors that name the setting at fault: those of the system name neither the setting nor
//! what to do.

use std::{io, net::SocketAddr};

use tokio::net::TcpListener;

use crate::exit::{Code, Failure};

/// Listens on `address`, which comes from the setting `setting`, on the current tokio runtime.
///
/// Errors: `Code::InUse` when another process uses the port; `Code::Config` when the system refuses the address. Both
/// name the setting.
pub fn bind(setting: &str, address: SocketAddr) -> Result<TcpListener, Failure> {
    let listen = || {
        let listener = std::net::TcpListener::bind(address)?;
        listener.set_nonblocking(true)?;
        TcpListener::from_std(listener)
    };
    listen().map_err(|error| match error.kind() {
        io::ErrorKind::AddrInUse => {
            let sentence = format!("{setting}: {address} is in use by another process. Stop it, or set another port");
            Failure::new(Code::InUse, sentence)
        }
        _ => Failure::config(format!("{setting}: cannot listen on {address}: {error}")),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_port_in_use_names_the_setting_and_the_remedy() {
        let first = bind("rpc.laddr", "127.0.0.1:0".parse().unwrap()).unwrap();
        let error = bind("rpc.laddr", first.local_addr().unwrap()).unwrap_err();
        assert_eq!(error.code, Code::InUse);
        assert!(error.sentence.starts_with("rpc.laddr: 127.0.0.1:"), "{error}");
        assert!(error.sentence.ends_with("Stop it, or set another port"));
    }
}
