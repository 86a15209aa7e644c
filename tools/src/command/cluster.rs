//! `kafka-cluster`: the id of the cluster and the addresses of its members.

use std::io::Write;

use clap::{Args, Subcommand};
use millrace_wire::message::describe_cluster::{
    DescribeClusterBroker, DescribeClusterRequest, DescribeClusterResponse,
};
use millrace_wire::message::metadata::MetadataRequest;

use super::Failure;
use crate::admin::{Admin, AdminError, Target};
use crate::flags::Connect;
use crate::print::joined;

/// Shows the id of the cluster and the addresses of its members
#[derive(Args, Debug)]
pub(crate) struct Flags {
    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, Subcommand)]
enum Action {
    /// Show the id of the cluster
    ClusterId(ConnectFlags),
    /// Show the members of the cluster
    ListEndpoints(EndpointFlags),
}

#[derive(Args, Debug)]
// Of Kafka's tools this one alone has a letter for it.
#[command(mut_arg("bootstrap_server", |flag| flag.short('b')))]
struct ConnectFlags {
    #[command(flatten)]
    connect: Connect,
    /// The same as --command-config
    #[arg(
        long,
        short = 'c',
        value_name = "FILE",
        conflicts_with = "command_config"
    )]
    config: Option<std::path::PathBuf>,
}

#[derive(Args, Debug)]
struct EndpointFlags {
    #[command(flatten)]
    connect: ConnectFlags,
    /// Show fenced brokers too
    #[arg(long)]
    include_fenced_brokers: bool,
}

impl ConnectFlags {
    fn admin(&self) -> Result<Admin, Failure> {
        let mut connect = self.connect.clone();
        connect.command_config = connect.command_config.or_else(|| self.config.clone());
        connect.admin()
    }
}

/// Runs the command.
pub(crate) async fn run(flags: Flags, out: &mut dyn Write) -> Result<(), Failure> {
    match flags.action {
        Action::ClusterId(flags) => cluster_id(&mut flags.admin()?, out).await,
        Action::ListEndpoints(flags) => list_endpoints(&flags, out).await,
    }
}

async fn cluster_id(admin: &mut Admin, out: &mut dyn Write) -> Result<(), Failure> {
    let request = MetadataRequest {
        topics: Some(Vec::new()),
        ..Default::default()
    };
    let metadata = admin.ask(Target::Any, &request).await?;
    match metadata.cluster_id {
        Some(id) => writeln!(out, "Cluster ID: {id}")?,
        None => writeln!(
            out,
            "No cluster ID found. The Kafka version is probably too old."
        )?,
    }
    Ok(())
}

async fn list_endpoints(flags: &EndpointFlags, out: &mut dyn Write) -> Result<(), Failure> {
    let request = DescribeClusterRequest {
        include_fenced_brokers: flags.include_fenced_brokers,
        ..Default::default()
    };
    let mut admin = flags.connect.admin()?;
    let response: DescribeClusterResponse = admin.ask(Target::Any, &request).await?;
    AdminError::check(response.error_code, response.error_message.as_deref())?;
    for line in table(&response.brokers) {
        writeln!(out, "{line}")?;
    }
    Ok(())
}

fn table(brokers: &[DescribeClusterBroker]) -> Vec<String> {
    let width = |least: usize, text: fn(&DescribeClusterBroker) -> usize| {
        brokers.iter().map(text).fold(least, usize::max)
    };
    let host = width(4, |broker| broker.host.len());
    let rack = width(10, |broker| {
        broker.rack.as_ref().map_or(4, |rack| rack.len())
    });
    let line = |cells: [&str; 6]| {
        let widths = [10, host, 10, rack, 10, 15];
        joined(
            cells
                .iter()
                .zip(widths)
                .map(|(cell, width)| format!("{cell:<width$}")),
            " ",
        )
    };
    let mut lines = vec![line([
        "ID",
        "HOST",
        "PORT",
        "RACK",
        "STATE",
        "ENDPOINT_TYPE",
    ])];
    for broker in brokers {
        let state = if broker.is_fenced {
            "fenced"
        } else {
            "unfenced"
        };
        let rack = broker.rack.as_deref().unwrap_or("null");
        let (id, port) = (broker.broker_id.to_string(), broker.port.to_string());
        lines.push(line([&id, &broker.host, &port, rack, state, "broker"]));
    }
    lines
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use clap::Parser;

    use super::*;

    #[derive(Parser)]
    struct Program {
        #[command(flatten)]
        flags: Flags,
    }

    #[test]
    fn the_flags_to_connect_have_letters() {
        let connect = |action: &str| {
            let line = format!("x {action} -b a:1 -c f");
            let Program { flags } = Program::parse_from(line.split(' '));
            match flags.action {
                Action::ClusterId(flags) => flags,
                Action::ListEndpoints(flags) => flags.connect,
            }
        };
        for action in ["cluster-id", "list-endpoints"] {
            let flags = connect(action);
            let servers = flags.connect.bootstrap_server.as_deref();
            assert_eq!(servers, Some("a:1"), "{action}");
            assert_eq!(flags.config.as_deref(), Some(Path::new("f")), "{action}");
        }
    }

    #[test]
    fn endpoints_are_printed_as_kafka_4_3_does() {
        let broker = DescribeClusterBroker {
            broker_id: 1,
            host: "localhost".into(),
            port: 29392,
            ..Default::default()
        };
        let expected = [
            "ID         HOST      PORT       RACK       STATE      ENDPOINT_TYPE  ",
            "1          localhost 29392      null       unfenced   broker         ",
        ];
        assert_eq!(table(&[broker]), expected);
    }
}
