//! A client of bytes.

use std::rc::Rc;

use lull_frontend::nbd::Errno;
use lull_transport::Stream;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::{Disks, Served, served};

pub const FIXED: u32 = 1;
pub const NO_ZEROES: u32 = 2;

/// A simple reply without data.
pub fn simple(cookie: u64, outcome: Result<(), Errno>) -> Vec<u8> {
    let mut bytes = vec![0x67, 0x44, 0x66, 0x98];
    bytes.extend_from_slice(&outcome.map_or_else(Errno::code, |()| 0).to_be_bytes());
    bytes.extend_from_slice(&cookie.to_be_bytes());
    bytes
}

/// The only chunk of a structured reply.
pub fn structured(kind: u16, cookie: u64, payload: &[u8]) -> Vec<u8> {
    let mut bytes = vec![0x66, 0x8e, 0x33, 0xef, 0, 1];
    bytes.extend_from_slice(&kind.to_be_bytes());
    bytes.extend_from_slice(&cookie.to_be_bytes());
    bytes.extend_from_slice(&(payload.len() as u32).to_be_bytes());
    bytes.extend_from_slice(payload);
    bytes
}

/// A client that says exactly what it is told to.
pub struct Raw(pub Stream, pub Served);

impl Raw {
    pub async fn greeted(disks: &Rc<Disks>, flags: u32) -> Raw {
        let (mut stream, served) = served(disks);
        let mut greeting = [0; 18];
        stream.read_exact(&mut greeting).await.unwrap();
        assert_eq!(&greeting, b"NBDMAGICIHAVEOPT\0\x03");
        stream.write_all(&flags.to_be_bytes()).await.unwrap();
        Raw(stream, served)
    }

    pub async fn option(&mut self, option: u32, data: &[u8]) {
        let mut bytes = b"IHAVEOPT".to_vec();
        bytes.extend_from_slice(&option.to_be_bytes());
        bytes.extend_from_slice(&(data.len() as u32).to_be_bytes());
        bytes.extend_from_slice(data);
        self.0.write_all(&bytes).await.unwrap();
    }

    /// The next reply to an option: its kind and data.
    pub async fn reply(&mut self, option: u32) -> (u32, Vec<u8>) {
        assert_eq!(self.0.read_u64().await.unwrap(), 0x0003_e889_0455_65a9);
        assert_eq!(self.0.read_u32().await.unwrap(), option);
        let kind = self.0.read_u32().await.unwrap();
        let mut data = vec![0; self.0.read_u32().await.unwrap() as usize];
        self.0.read_exact(&mut data).await.unwrap();
        (kind, data)
    }

    pub async fn refused(&mut self, option: u32, data: &[u8]) -> u32 {
        self.option(option, data).await;
        let (kind, _) = self.reply(option).await;
        assert!(kind >> 31 == 1, "option {option} was answered {kind}");
        kind & !(1 << 31)
    }

    /// Goes over to transmission with the export `disk`, after this.
    pub async fn gone(&mut self) {
        self.option(7, &go("disk", &[])).await;
        for _ in 0..2 {
            assert_eq!(self.reply(7).await.0, 3);
        }
        assert_eq!(self.reply(7).await, (1, vec![]));
    }

    /// Sends bytes and compares what comes back.
    pub async fn exchange(&mut self, said: &[u8], answered: &[u8]) {
        self.0.write_all(said).await.unwrap();
        let mut answer = vec![0; answered.len()];
        self.0.read_exact(&mut answer).await.unwrap();
        assert!(answer == answered, "\n{answer:02x?}\nwhere this belongs:\n{answered:02x?}");
    }

    pub async fn at_end(&mut self) {
        assert_eq!(self.0.read(&mut [0; 1]).await.unwrap(), 0);
    }
}

/// The data of INFO and GO.
pub fn go(name: &str, infos: &[u16]) -> Vec<u8> {
    let mut data = (name.len() as u32).to_be_bytes().to_vec();
    data.extend_from_slice(name.as_bytes());
    data.extend_from_slice(&(infos.len() as u16).to_be_bytes());
    infos.iter().for_each(|info| data.extend_from_slice(&info.to_be_bytes()));
    data
}
