//! Settings of nodes.

use mfsha_client::Client;
use mfsha_core::id::NodeId;
use mfsha_core::native::admin::Setting;
use serde_json::{Value, json};

use super::args::{ConfigCommand, Which};
use super::output::{Failure, Output, table};

/// Looks at settings, or changes one.
pub async fn config(
    client: &Client,
    command: ConfigCommand,
    output: &mut Output,
) -> Result<(), Failure> {
    match command {
        ConfigCommand::Get { key, node } => get(client, key, node, output).await,
        ConfigCommand::Set { key, value, which } => {
            let mut done = Vec::new();
            for node in targets(client, which).await? {
                let set = client.admin().set_setting(Some(node), &key, &value).await;
                set.map_err(|error| {
                    Failure::from(error).about(&after(&done, &format!("node {}", node.0)))
                })?;
                done.push(node.0);
            }
            output.show(
                &format!("{key} is {value} at {} until its next start", names(&done)),
                &json!({ "key": key, "value": value, "nodes": done }),
            );
            Ok(())
        }
    }
}

/// What was done before something failed belongs to the message.
fn after(done: &[u64], what: &str) -> String {
    if done.is_empty() {
        what.to_owned()
    } else {
        format!("done at {}, then {what}", names(done))
    }
}

fn names(nodes: &[u64]) -> String {
    let numbers: Vec<String> = nodes.iter().map(u64::to_string).collect();
    format!("node {}", numbers.join(", "))
}

/// The nodes that are meant: one, or all that answer; with `--all` every one has to.
async fn targets(client: &Client, which: Which) -> Result<Vec<NodeId>, Failure> {
    if let Some(node) = which.node {
        return Ok(vec![node]);
    }
    let view = client.admin().view().await;
    if which.all
        && let Some(absent) = view.nodes.iter().find(|view| view.status.is_err())
    {
        let name = absent.node.map_or_else(
            || absent.address.clone().unwrap_or_default(),
            |node| format!("node {}", node.0),
        );
        return Err(Failure::refused(format!(
            "{name} does not answer; nothing was changed. Without --all those that answer are told"
        )));
    }
    let live: Vec<NodeId> = view.live().into_iter().collect();
    if live.is_empty() {
        return Err(Failure::refused("no node answers".to_owned()));
    }
    Ok(live)
}

async fn get(
    client: &Client,
    key: Option<String>,
    node: Option<NodeId>,
    output: &mut Output,
) -> Result<(), Failure> {
    let admin = client.admin();
    let node = match node {
        Some(node) => node,
        None => admin.leader_status().await?.node,
    };
    let all = admin.settings(Some(node)).await?;
    let Some(key) = key else {
        let rows = all.iter().map(|setting| {
            [
                setting.key.clone(),
                setting.value.clone(),
                setting.source.clone(),
                if setting.live { "yes" } else { "no" }.to_owned(),
            ]
        });
        let text = table(["KEY", "VALUE", "FROM", "LIVE"], rows.collect());
        let settings: Vec<Value> = all.iter().map(setting_json).collect();
        output.show(&text, &json!({ "node": node.0, "settings": settings }));
        return Ok(());
    };
    let Some(setting) = all.iter().find(|setting| setting.key == key) else {
        let near = all
            .iter()
            .map(|setting| (strsim::damerau_levenshtein(&setting.key, &key), setting))
            .min_by_key(|(distance, _)| *distance)
            .filter(|(distance, _)| *distance <= 3)
            .map(|(_, setting)| format!("; did you mean {}?", setting.key));
        return Err(Failure::refused(format!(
            "there is no setting {key}{}",
            near.unwrap_or_default()
        )));
    };
    output.show(&setting.value, &setting_json(setting));
    Ok(())
}

fn setting_json(setting: &Setting) -> Value {
    json!({
        "key": setting.key,
        "value": setting.value,
        "source": setting.source,
        "live": setting.live,
    })
}

/// Has nodes read their file again.
pub async fn reload(client: &Client, which: Which, output: &mut Output) -> Result<(), Failure> {
    let mut rows = Vec::new();
    let mut nodes = Vec::new();
    let mut done = Vec::new();
    for node in targets(client, which).await? {
        let reloaded = client.admin().reload(Some(node)).await;
        let reloaded = reloaded.map_err(|error| {
            Failure::from(error).about(&after(&done, &format!("node {}", node.0)))
        })?;
        let list = |keys: &[String]| {
            if keys.is_empty() {
                "-".to_owned()
            } else {
                keys.join(", ")
            }
        };
        rows.push([
            node.0.to_string(),
            list(&reloaded.changed),
            list(&reloaded.need_restart),
        ]);
        nodes.push(json!({
            "node": node.0,
            "changed": reloaded.changed,
            "need_restart": reloaded.need_restart,
        }));
        done.push(node.0);
    }
    let text = table(["NODE", "CHANGED", "NEED A RESTART"], rows);
    output.show(&text, &json!({ "nodes": nodes }));
    Ok(())
}
