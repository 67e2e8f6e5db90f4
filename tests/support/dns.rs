//! A name server that says what a test tells it, by UDP and TCP on one port (RFC 1035).

use std::collections::HashMap;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::{Arc, Mutex};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, UdpSocket};

use super::Gate;

/// One record.
#[derive(Clone, Debug)]
pub enum Record {
    /// The address of a host.
    A(Ipv4Addr),
    /// The same, of IPv6.
    Aaaa(Ipv6Addr),
    /// A place of a service: priority, weight, port, host.
    Srv(u16, u16, u16, String),
}

/// What is said about a name.
#[derive(Clone, Debug, Default)]
pub struct Said {
    records: Vec<Record>,
    ttl: u32,
    code: u8,
    gate: Option<Gate>,
    /// Whether datagrams only say that there is more.
    by_tcp: bool,
}

impl Said {
    /// These records, to be believed for so many seconds.
    pub fn records(records: Vec<Record>, ttl: u32) -> Self {
        Self { records, ttl, ..Self::default() }
    }

    /// A failure: 2 where it could not be found out, 3 where there is no such name.
    pub fn failed(code: u8) -> Self {
        Self { code, ..Self::default() }
    }

    /// Only after this gate is open.
    pub fn after(self, gate: &Gate) -> Self {
        Self { gate: Some(gate.clone()), ..self }
    }

    /// Only by TCP.
    pub fn by_tcp(self) -> Self {
        Self { by_tcp: true, ..self }
    }

    fn kinds(&self) -> Vec<u16> {
        let kind = |record: &Record| match record {
            Record::A(_) => 1,
            Record::Aaaa(_) => 28,
            Record::Srv(..) => 33,
        };
        self.records.iter().map(kind).collect()
    }
}

/// A question: the name, the type, and whether it came by TCP.
pub type Asked = (String, u16, bool);

/// The server; it ends with the test.
#[derive(Clone, Debug)]
pub struct NameServer {
    /// Where it is.
    pub address: SocketAddr,
    said: Arc<Mutex<HashMap<String, Said>>>,
    asked: Arc<Mutex<Vec<Asked>>>,
}

impl NameServer {
    /// One that knows no names.
    pub async fn start() -> Self {
        let (udp, tcp) = loop {
            let tcp = TcpListener::bind("127.0.0.1:0").await.unwrap();
            // Somebody else may have the same port of the other kind.
            if let Ok(udp) = UdpSocket::bind(tcp.local_addr().unwrap()).await {
                break (udp, tcp);
            }
        };
        let address = udp.local_addr().unwrap();
        let server = Self { address, said: Arc::default(), asked: Arc::default() };
        tokio::spawn(server.clone().datagrams(Arc::new(udp)));
        tokio::spawn(server.clone().connections(tcp));
        server
    }

    /// From now on it says this about a name, and what it said before about others.
    pub fn says(&self, name: &str, said: Said) {
        self.said.lock().unwrap().insert(name.to_owned(), said);
    }

    /// What it was asked so far.
    pub fn asked(&self) -> Vec<Asked> {
        self.asked.lock().unwrap().clone()
    }

    /// How often it was asked about a name.
    pub fn count(&self, name: &str) -> usize {
        self.asked().iter().filter(|(asked, _, _)| asked == name).count()
    }

    /// Waits until it was asked about a name so many times.
    pub async fn wait_for(&self, name: &str, count: usize) {
        super::within(&format!("{count} questions about {name}"), async {
            while self.count(name) < count {
                tokio::time::sleep(std::time::Duration::from_millis(5)).await;
            }
        })
        .await;
    }

    async fn datagrams(self, socket: Arc<UdpSocket>) {
        let mut datagram = [0; 4096];
        while let Ok((length, from)) = socket.recv_from(&mut datagram).await {
            let (server, socket, question) = (self.clone(), socket.clone(), datagram[..length].to_vec());
            tokio::spawn(async move {
                let answer = server.answer(&question, false).await;
                socket.send_to(&answer, from).await.unwrap();
            });
        }
    }

    async fn connections(self, listener: TcpListener) {
        while let Ok((mut stream, _)) = listener.accept().await {
            let server = self.clone();
            tokio::spawn(async move {
                let Ok(length) = stream.read_u16().await else { return };
                let mut question = vec![0; length.into()];
                stream.read_exact(&mut question).await.unwrap();
                let answer = server.answer(&question, true).await;
                stream.write_u16(answer.len() as u16).await.unwrap();
                stream.write_all(&answer).await.unwrap();
            });
        }
    }

    async fn answer(&self, question: &[u8], by_tcp: bool) -> Vec<u8> {
        let mut at = 12;
        let mut labels = Vec::new();
        while question[at] != 0 {
            let end = at + 1 + usize::from(question[at]);
            labels.push(String::from_utf8(question[at + 1..end].to_vec()).unwrap());
            at = end;
        }
        let kind = u16::from_be_bytes([question[at + 1], question[at + 2]]);
        let name = labels.join(".");
        self.asked.lock().unwrap().push((name.clone(), kind, by_tcp));
        let said = self.said.lock().unwrap().get(&name).cloned().unwrap_or_else(|| Said::failed(3));
        if let Some(gate) = &said.gate {
            gate.pass().await;
        }
        let is_cut = said.by_tcp && !by_tcp;
        let mut records: Vec<_> =
            said.records.iter().zip(said.kinds()).filter(|(_, of)| *of == kind && !is_cut).collect();
        if !by_tcp {
            // What fits into a datagram.
            records.truncate(20);
        }
        let mut answer = question[..at + 5].to_vec();
        let flags = 0x8180 | u16::from(said.code) | if is_cut { 0x0200 } else { 0 };
        answer[2..4].copy_from_slice(&flags.to_be_bytes());
        answer[6..12].copy_from_slice(&[0, records.len() as u8, 0, 0, 0, 0]);
        for (record, kind) in records {
            answer.extend_from_slice(&[0xc0, 12]);
            for part in [kind, 1, (said.ttl >> 16) as u16, said.ttl as u16] {
                answer.extend_from_slice(&part.to_be_bytes());
            }
            let data = data(record);
            answer.extend_from_slice(&(data.len() as u16).to_be_bytes());
            answer.extend_from_slice(&data);
        }
        answer
    }
}

fn data(record: &Record) -> Vec<u8> {
    match record {
        Record::A(address) => address.octets().to_vec(),
        Record::Aaaa(address) => address.octets().to_vec(),
        Record::Srv(priority, weight, port, host) => {
            let mut data: Vec<u8> =
                [priority, weight, port].iter().flat_map(|part| part.to_be_bytes()).collect();
            for label in host.split('.') {
                data.push(label.len() as u8);
                data.extend_from_slice(label.as_bytes());
            }
            data.push(0);
            data
        }
    }
}
