//! Listening, or saying which setting cannot work.

use std::{
    io,
    net::{SocketAddr, TcpListener},
};

use crate::exit::{Code, Failure};

/// Listens, or says which setting cannot work.
pub fn bind(setting: &str, address: SocketAddr) -> Result<TcpListener, Failure> {
    TcpListener::bind(address).map_err(|error| match error.kind() {
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

    #[test]
    fn a_port_in_use_names_the_setting_and_the_way_out() {
        let first = bind("rpc.laddr", "127.0.0.1:0".parse().unwrap()).unwrap();
        let error = bind("rpc.laddr", first.local_addr().unwrap()).unwrap_err();
        assert_eq!(error.code, Code::InUse);
        assert!(error.sentence.starts_with("rpc.laddr: 127.0.0.1:"), "{error}");
        assert!(error.sentence.ends_with("Stop it, or set another port"));
    }
}
