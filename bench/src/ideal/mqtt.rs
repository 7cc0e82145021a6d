//! As much of MQTT 3.1.1 as the ideal needs, on a blocking socket.

use std::io::{self, Read, Write};
use std::net::{Ipv4Addr, TcpStream};

use anyhow::{Result, bail, ensure};

const CONNACK: u8 = 0x20;
const PUBLISH: u8 = 0x30;
const PUBACK: u8 = 0x40;
const SUBACK: u8 = 0x90;

/// A connection. What was read and is not taken lies in `buffer`.
#[derive(Debug)]
pub struct Connection {
    stream: TcpStream,
    buffer: Vec<u8>,
    start: usize,
    end: usize,
}

/// What comes in.
#[derive(Debug)]
pub enum Packet {
    /// The broker has a message of ours.
    Acknowledged,
    /// A message for us with this packet id.
    Message { packet_id: [u8; 2] },
}

impl Connection {
    pub fn open(port: u16, client: &str) -> Result<Self> {
        let stream = TcpStream::connect((Ipv4Addr::LOCALHOST, port))?;
        stream.set_nodelay(true)?;
        let mut connection = Self { stream, buffer: vec![0; 256 << 10], start: 0, end: 0 };
        // Protocol name and level, clean session, no keep-alive, the client's id.
        let mut body = vec![0, 4, b'M', b'Q', b'T', b'T', 4, 0b10, 0, 0];
        string(&mut body, client)?;
        connection.send(0x10, &body)?;
        connection.expect(CONNACK, &[0, 0])?;
        Ok(connection)
    }

    pub fn subscribe(&mut self, topic: &str) -> Result<()> {
        let mut body = vec![0, 1];
        string(&mut body, topic)?;
        body.push(1);
        self.send(0x82, &body)?;
        self.expect(SUBACK, &[0, 1, 1])
    }

    fn send(&mut self, first: u8, body: &[u8]) -> Result<()> {
        let mut packet = vec![first];
        length(&mut packet, body.len());
        packet.extend_from_slice(body);
        Ok(self.stream.write_all(&packet)?)
    }

    fn expect(&mut self, kind: u8, body: &[u8]) -> Result<()> {
        let (first, length) = self.header()?;
        let mut answer = vec![0; length];
        self.read_exact(&mut answer)?;
        ensure!(first == kind && answer == body, "the broker answered {first:#x} {answer:?}");
        Ok(())
    }

    /// Sends a packet that [`publish_head`] began.
    pub fn publish(&mut self, packet: &[u8]) -> Result<()> {
        Ok(self.stream.write_all(packet)?)
    }

    pub fn acknowledge(&mut self, packet_id: [u8; 2]) -> Result<()> {
        Ok(self.stream.write_all(&[PUBACK, 2, packet_id[0], packet_id[1]])?)
    }

    /// The next packet; a message's payload goes into `payload`.
    pub fn next(&mut self, payload: &mut Vec<u8>) -> Result<Packet> {
        let (first, length) = self.header()?;
        match first & 0xf0 {
            PUBACK => {
                let mut packet_id = [0; 2];
                self.read_exact(&mut packet_id)?;
                Ok(Packet::Acknowledged)
            }
            PUBLISH => {
                let mut size = [0; 2];
                self.read_exact(&mut size)?;
                let mut topic = vec![0; usize::from(u16::from_be_bytes(size))];
                self.read_exact(&mut topic)?;
                let mut packet_id = [0; 2];
                self.read_exact(&mut packet_id)?;
                payload.resize(length - 4 - topic.len(), 0);
                self.read_exact(payload)?;
                Ok(Packet::Message { packet_id })
            }
            _ => bail!("the broker sent {first:#x}"),
        }
    }

    fn header(&mut self) -> Result<(u8, usize)> {
        let [first] = self.byte()?;
        let (mut length, mut shift) = (0, 0);
        loop {
            let [byte] = self.byte()?;
            length |= usize::from(byte & 0x7f) << shift;
            shift += 7;
            if byte & 0x80 == 0 {
                return Ok((first, length));
            }
        }
    }

    fn byte(&mut self) -> io::Result<[u8; 1]> {
        let mut byte = [0];
        self.read_exact(&mut byte)?;
        Ok(byte)
    }

    /// Large reads go past the buffer.
    fn read_exact(&mut self, target: &mut [u8]) -> io::Result<()> {
        let mut filled = 0;
        while filled < target.len() {
            if self.start == self.end {
                let rest = &mut target[filled..];
                if rest.len() >= self.buffer.len() {
                    return self.stream.read_exact(rest);
                }
                (self.start, self.end) = (0, self.stream.read(&mut self.buffer)?);
                if self.end == 0 {
                    return Err(io::ErrorKind::UnexpectedEof.into());
                }
            }
            let count = (target.len() - filled).min(self.end - self.start);
            target[filled..filled + count].copy_from_slice(&self.buffer[self.start..self.start + count]);
            filled += count;
            self.start += count;
        }
        Ok(())
    }
}

/// Begins a PUBLISH with QoS 1 whose payload has so many bytes.
pub fn publish_head(packet: &mut Vec<u8>, topic: &str, packet_id: u16, payload_bytes: usize) -> Result<()> {
    packet.push(PUBLISH | 0b10);
    length(packet, 2 + topic.len() + 2 + payload_bytes);
    string(packet, topic)?;
    packet.extend_from_slice(&packet_id.to_be_bytes());
    Ok(())
}

fn string(packet: &mut Vec<u8>, text: &str) -> Result<()> {
    packet.extend_from_slice(&u16::try_from(text.len())?.to_be_bytes());
    packet.extend_from_slice(text.as_bytes());
    Ok(())
}

fn length(packet: &mut Vec<u8>, mut length: usize) {
    while length >= 0x80 {
        packet.push((length & 0x7f) as u8 | 0x80);
        length >>= 7;
    }
    packet.push(length as u8);
}
