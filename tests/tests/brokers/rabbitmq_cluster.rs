//! Three nodes of RabbitMQ. The tracker, each torrent and a second tracker are at different nodes.

use mds_tests::brokers::rabbitmq::{PACKAGE, RabbitMq};
use mds_tests::brokers::shared::Shared;

use crate::suite::suite_on;

static BROKER: Shared<RabbitMq> = Shared::new();

suite_on!(BROKER.get(RabbitMq::start_cluster), PACKAGE.is_installed_or_skip());
