//! Who leads, and who takes part.

use mfsha_client::Client;
use mfsha_client::admin::{AddStep, Added};
use mfsha_core::id::NodeId;
use serde_json::json;

use super::output::{Failure, Output};

/// Hands leadership over.
pub async fn transfer(client: &Client, to: NodeId, output: &mut Output) -> Result<(), Failure> {
    client.admin().transfer_leadership(to).await?;
    output.show(&format!("node {} leads", to.0), &json!({ "leader": to.0 }));
    Ok(())
}

/// Adds a member.
pub async fn add(client: &Client, node: NodeId, output: &mut Output) -> Result<(), Failure> {
    let bar = output.progress(&format!("adding node {}", node.0));
    let added = client
        .admin()
        .add_node(node, |step| {
            bar.set_message(match step {
                AddStep::Joining => format!("node {} becomes a learner", node.0),
                AddStep::CatchingUp { matched, wanted } => {
                    format!("node {} has {} of {} entries", node.0, matched.0, wanted.0)
                }
                AddStep::Promoting => format!("node {} becomes a voter", node.0),
            });
        })
        .await;
    bar.finish_and_clear();
    let (text, changed) = match added? {
        Added::Now => (format!("node {} votes now", node.0), true),
        Added::Before => (format!("node {} votes already", node.0), false),
    };
    output.show(&text, &json!({ "node": node.0, "changed": changed }));
    Ok(())
}

/// Takes a member out.
pub async fn remove(
    client: &Client,
    node: NodeId,
    force: bool,
    output: &mut Output,
) -> Result<(), Failure> {
    let removed = client.admin().remove_node(node, force).await?;
    let voters: Vec<u64> = removed.voters.iter().map(|node| node.0).collect();
    let names: Vec<String> = voters.iter().map(u64::to_string).collect();
    let mut text = format!("node {} is out; voters are {}", node.0, names.join(", "));
    if let Some(leader) = removed.leader {
        text.push_str(&format!("; node {} leads", leader.0));
    }
    output.show(
        &text,
        &json!({
            "node": node.0,
            "voters": voters,
            "new_leader": removed.leader.map(|node| node.0),
        }),
    );
    Ok(())
}
