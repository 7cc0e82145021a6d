//! A connection to the broker, and its first steps: TCP, TLS, CONNECT, SUBSCRIBE.

use std::io;

use bytes::Buf;
use rumqttc::mqttbytes::QoS;
use rumqttc::mqttbytes::v4::{
    ConnAck, Connect, ConnectReturnCode, LastWill, Login, Packet, SubAck, Subscribe, SubscribeFilter,
    SubscribeReasonCode,
};
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::error::{LossReason, OpenError, Refusal, SessionLost};
use crate::event_loop::{acknowledge, delivery};
use crate::input::{Input, network_reason};
use crate::message::Delivery;
use crate::options::SessionOptions;
use crate::output::Output;
use crate::prompt::Prompt;
use crate::tls;

/// The only packet id in use before messages are published.
const SUBSCRIBE_ID: u16 = 1;

/// A connection, TLS or not.
pub(crate) struct Connection {
    pub(crate) reader: Box<dyn AsyncRead + Send + Unpin>,
    pub(crate) writer: Writer,
    pub(crate) input: Input,
    pub(crate) prompt: Prompt,
}

/// The way to the broker.
pub(crate) struct Writer {
    stream: Box<dyn AsyncWrite + Send + Unpin>,
    /// Whether the stream keeps something back until it is flushed, as TLS does when the socket is full.
    keeps_back: bool,
    unflushed: bool,
}

impl Writer {
    fn new(stream: impl AsyncWrite + Send + Unpin + 'static, keeps_back: bool) -> Self {
        Self { stream: Box::new(stream), keeps_back, unflushed: false }
    }

    /// Whether there is something to do for [`write`](Self::write).
    pub(crate) fn has_work(&self, output: &Output) -> bool {
        output.has_remaining() || self.unflushed
    }

    /// Writes once, or flushes when everything is written. May be cancelled without losing anything.
    pub(crate) async fn write(&mut self, output: &mut Output) -> Result<(), LossReason> {
        let done = if output.has_remaining() {
            let written = self.stream.write_buf(output).await;
            self.unflushed = self.keeps_back;
            written.and_then(|bytes| if bytes == 0 { Err(io::ErrorKind::BrokenPipe.into()) } else { Ok(()) })
        } else {
            let flushed = self.stream.flush().await;
            self.unflushed = false;
            flushed
        };
        done.map_err(|error| network_reason(&error))
    }

    /// Writes everything, and that nothing more will come.
    pub(crate) async fn finish(&mut self, output: &mut Output) -> Result<(), LossReason> {
        let done = async {
            self.stream.write_all_buf(output).await?;
            self.stream.shutdown().await
        };
        done.await.map_err(|error| network_reason(&error))
    }
}

impl Connection {
    /// TCP, and TLS if the URL asks for it.
    pub(crate) async fn open(options: &SessionOptions) -> Result<Self, OpenError> {
        let broker = &options.broker;
        let unreachable = |source: io::Error| OpenError::Unreachable { broker: broker.clone(), source };
        let stream = TcpStream::connect((broker.host(), broker.port())).await.map_err(unreachable)?;
        stream.set_nodelay(true).map_err(unreachable)?;
        let prompt = Prompt::of(&stream).map_err(unreachable)?;
        let input = Input::new(options.max_packet_bytes);
        if broker.is_tls() {
            let stream = tls::connect(stream, broker.host(), options.ca_file.as_deref()).await;
            let stream = stream.map_err(|source| OpenError::Tls { broker: broker.clone(), source })?;
            let (reader, writer) = tokio::io::split(stream);
            return Ok(Self { reader: Box::new(reader), writer: Writer::new(writer, true), input, prompt });
        }
        let (reader, writer) = stream.into_split();
        Ok(Self { reader: Box::new(reader), writer: Writer::new(writer, false), input, prompt })
    }

    /// CONNECT, and the broker's answer.
    pub(crate) async fn introduce(&mut self, options: &SessionOptions) -> Result<(), OpenError> {
        let hung_up = |reason| hung_up(options, reason);
        self.send(&Packet::Connect(connect_packet(options))).await.map_err(hung_up)?;
        let answer = self.next_packet().await.map_err(hung_up)?;
        let Packet::ConnAck(ConnAck { code, .. }) = answer else { return Err(hung_up(unexpected(&answer))) };
        let code = match code {
            ConnectReturnCode::Success => return Ok(()),
            ConnectReturnCode::RefusedProtocolVersion => Refusal::ProtocolVersion,
            ConnectReturnCode::BadClientId => Refusal::ClientId,
            ConnectReturnCode::ServiceUnavailable => Refusal::Unavailable,
            ConnectReturnCode::BadUserNamePassword => Refusal::Credentials,
            ConnectReturnCode::NotAuthorized => Refusal::NotAuthorised,
        };
        Err(OpenError::Rejected {
            broker: options.broker.clone(),
            client_id: options.client_id.clone(),
            code,
        })
    }

    /// SUBSCRIBE, and the broker's answer for each filter. Retained messages may come before it: they are
    /// acknowledged into `output`, which is to be written later, and returned.
    pub(crate) async fn subscribe(
        &mut self,
        options: &SessionOptions,
        output: &mut Output,
    ) -> Result<Vec<Delivery>, OpenError> {
        let mut early = Vec::new();
        if options.subscriptions.is_empty() {
            return Ok(early);
        }
        let hung_up = |reason| hung_up(options, reason);
        let filter = |filter: &String| SubscribeFilter { path: filter.clone(), qos: QoS::AtLeastOnce };
        let filters = options.subscriptions.iter().map(filter).collect();
        self.send(&Packet::Subscribe(Subscribe { pkid: SUBSCRIBE_ID, filters })).await.map_err(hung_up)?;
        let answers = loop {
            let packet = self.next_packet().await.map_err(hung_up)?;
            if let Packet::Publish(publish) = packet {
                acknowledge(output, &publish).map_err(hung_up)?;
                early.push(delivery(publish));
            } else if let Packet::SubAck(SubAck { return_codes, .. }) = packet {
                break return_codes;
            } else {
                return Err(hung_up(unexpected(&packet)));
            }
        };
        // A broker that answers for fewer filters than asked has not granted the rest.
        let answers = answers.into_iter().map(Some).chain(std::iter::repeat(None));
        for (filter, answer) in options.subscriptions.iter().zip(answers) {
            let (broker, filter) = (options.broker.clone(), filter.clone());
            match answer {
                Some(SubscribeReasonCode::Success(QoS::AtLeastOnce | QoS::ExactlyOnce)) => {}
                Some(SubscribeReasonCode::Success(QoS::AtMostOnce)) => {
                    return Err(OpenError::QosTooLow { broker, filter });
                }
                Some(SubscribeReasonCode::Failure) | None => {
                    let client_id = options.client_id.clone();
                    return Err(OpenError::SubscriptionRefused { broker, client_id, filter });
                }
            }
        }
        Ok(early)
    }

    /// Says goodbye on a connection that came to nothing, so that the broker does not publish the will.
    pub(crate) async fn abandon(&mut self) {
        let mut output = Output::default();
        output.disconnect();
        if self.writer.finish(&mut output).await.is_ok() {
            while self.input.read(&mut self.reader).await.is_ok() {
                while let Ok(Some(_)) = self.input.next() {}
            }
        }
    }

    async fn send(&mut self, packet: &Packet) -> Result<(), LossReason> {
        let mut output = Output::default();
        output.packet(packet).map_err(|error| LossReason::Protocol { message: error.to_string() })?;
        while self.writer.has_work(&output) {
            self.writer.write(&mut output).await?;
        }
        Ok(())
    }

    async fn next_packet(&mut self) -> Result<Packet, LossReason> {
        loop {
            if let Some(packet) = self.input.next()? {
                return Ok(packet);
            }
            self.input.read(&mut self.reader).await?;
        }
    }
}

fn connect_packet(options: &SessionOptions) -> Connect {
    let mut connect = Connect::new(&options.client_id);
    // Nothing relies on what a broker keeps.
    connect.clean_session = true;
    connect.keep_alive = u16::try_from(options.effective_keep_alive().as_secs()).unwrap_or(u16::MAX);
    connect.last_will = options
        .will
        .as_ref()
        .map(|will| LastWill::new(&will.topic, will.payload.clone(), QoS::AtLeastOnce, will.retain));
    connect.login = options.broker.credentials().map(|(user, password)| Login::new(user, password));
    connect
}

fn hung_up(options: &SessionOptions, reason: LossReason) -> OpenError {
    OpenError::HungUp { broker: options.broker.clone(), source: SessionLost { reason } }
}

fn unexpected(packet: &Packet) -> LossReason {
    LossReason::Protocol { message: format!("an answer that nothing asked for: {packet:?}") }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, BufWriter};

    use super::*;

    #[tokio::test]
    async fn what_the_stream_keeps_back_is_flushed_once_everything_is_written() {
        // As TLS with a full socket: what is written goes nowhere until it is flushed.
        let (stream, mut broker) = tokio::io::duplex(4096);
        let mut writer = Writer::new(BufWriter::new(stream), true);
        let mut output = Output::default();
        output.ping();
        let mut arrived = [0; 2];
        while writer.has_work(&output) {
            writer.write(&mut output).await.unwrap();
        }
        let read = std::pin::pin!(broker.read_exact(&mut arrived));
        tokio::select! {
            biased;
            read = read => assert_eq!(read.unwrap(), 2),
            () = std::future::ready(()) => panic!("nothing has arrived"),
        }
        assert!(!writer.has_work(&output));
    }
}
