use std::path::{Path, PathBuf};

use super::super::config::KubernetesConfig;
use super::super::error::CorefileError;
use super::super::lexer::Token;
use super::super::reader::{Arguments, duration, name, number, reverse_range, zones};
use super::super::tree::Directive;
use crate::{Name, PodNames, ZoneConfig};

pub(super) fn config(directive: &Directive, block: &[Name]) -> Result<KubernetesConfig, CorefileError> {
    let mut all = Vec::new();
    for token in &directive.arguments {
        all.extend(zones(token)?);
    }
    if all.is_empty() {
        all = block.to_vec();
    }
    let (reverse, forward): (Vec<Name>, Vec<Name>) =
        all.into_iter().partition(|zone| reverse_range(zone).is_some());
    if forward.is_empty() {
        return Err(directive.name.error("'kubernetes' lacks the cluster's domain, such as cluster.local"));
    }
    let mut config = KubernetesConfig {
        zones: forward,
        reverse: Vec::new(),
        own_addresses: Vec::new(),
        fallthrough: Vec::new(),
        endpoint: None,
        tls: None,
        kubeconfig: None,
        namespaces: Vec::new(),
        labels: None,
        pods: PodNames::Disabled,
        endpoint_pod_names: false,
        ignore_empty_services: false,
        ttl: ZoneConfig::TTL,
    };
    for line in &directive.body {
        option(line, &mut config)?;
    }
    config.reverse = reverse.iter().filter_map(reverse_range).collect();
    let passed_on = |zone: &&Name| !config.fallthrough.iter().any(|through| zone.is_within(through));
    config.own_addresses = reverse.iter().filter(passed_on).filter_map(reverse_range).collect();
    Ok(config)
}

fn option(line: &[Token], config: &mut KubernetesConfig) -> Result<(), CorefileError> {
    let Some((word, mut arguments)) = Arguments::of_line(line) else { return Ok(()) };
    let directory = word.place.file.parent().unwrap_or(Path::new(".")).to_owned();
    let path = |token: &Token| -> PathBuf { directory.join(&token.text) };
    match word.text.as_str() {
        "endpoint" => {
            let token = arguments.required("the URL of the API server")?;
            if !token.text.starts_with("https://") && !token.text.starts_with("http://") {
                return Err(
                    token.error(format!("'{}' is not a URL such as https://10.0.0.1:6443", token.text))
                );
            }
            config.endpoint = Some(token.text.clone());
        }
        "tls" => {
            let mut file = || arguments.required("three files: certificate, key, authority").map(path);
            config.tls = Some([file()?, file()?, file()?]);
        }
        "kubeconfig" => {
            let file = path(arguments.required("a file")?);
            config.kubeconfig = Some((file, arguments.next().map(|context| context.text.clone())));
        }
        "namespaces" => {
            config.namespaces.extend(arguments.some("a namespace")?.iter().map(|token| token.text.clone()));
        }
        "labels" => {
            let words: Vec<&str> =
                arguments.some("a label selector")?.iter().map(|token| token.text.as_str()).collect();
            config.labels = Some(words.join(" "));
        }
        "pods" => {
            let token = arguments.required("'disabled', 'insecure' or 'verified'")?;
            config.pods = match token.text.as_str() {
                "disabled" => PodNames::Disabled,
                "insecure" => PodNames::Insecure,
                "verified" => PodNames::Verified,
                other => {
                    return Err(token.error(format!(
                        "'{other}' is not understood: known are disabled, insecure and verified"
                    )));
                }
            };
        }
        "endpoint_pod_names" => config.endpoint_pod_names = true,
        "ttl" => config.ttl = number(arguments.required("a number of seconds")?, 0, 3600)?,
        "fallthrough" => {
            let zones = arguments.rest().iter().map(name).collect::<Result<Vec<_>, _>>()?;
            config.fallthrough = if zones.is_empty() { vec![Name::root()] } else { zones };
        }
        "ignore" => {
            let token = arguments.required("'empty_service'")?;
            if token.text != "empty_service" {
                return Err(token.error(format!("'{}' is not 'empty_service'", token.text)));
            }
            config.ignore_empty_services = true;
        }
        // Queries are answered from the start, and by SERVFAIL until everything is known.
        "startup_timeout" => drop(duration(arguments.required("a time")?)?),
        "noendpoints"
        | "namespace_labels"
        | "multicluster"
        | "apiserver_qps"
        | "apiserver_burst"
        | "apiserver_max_inflight" => {
            return Err(word.error(format!("'{}' of 'kubernetes' is not done here: leave it out", word.text)));
        }
        // Without effect in CoreDNS, too, since 1.5 and 1.7.
        "resyncperiod" | "upstream" => {
            return Err(
                word.error(format!("'{}' is no longer an option of 'kubernetes': leave it out", word.text))
            );
        }
        _ => return Err(arguments.unknown("kubernetes")),
    }
    arguments.end()
}
