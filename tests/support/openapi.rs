//! The published contract of the HTTP API, as a judge of what the API answers.

use std::collections::HashMap;
use std::sync::{Arc, LazyLock, Mutex};

use jsonschema::Validator;
use reqwest::Method;
use serde_json::Value;

use super::client::Answer;

/// The document.
pub(crate) static OPENAPI: LazyLock<Value> = LazyLock::new(ingress::openapi);

/// The schemas that were needed so far, by their texts.
static VALIDATORS: LazyLock<Mutex<HashMap<String, Arc<Validator>>>> = LazyLock::new(Mutex::default);

/// Every path of the contract with its operations by method.
pub(crate) fn paths() -> impl Iterator<Item = (&'static str, &'static Value)> {
    let paths = OPENAPI["paths"].as_object().unwrap();
    paths
        .iter()
        .map(|(path, operations)| (path.as_str(), operations))
}

/// Checks an answer against what the contract says of the route.
pub(crate) fn check(method: &Method, address: &str, answer: &Answer) {
    let asked = format!("{method} {address}: {}", answer.status);
    let address = address.split('?').next().unwrap();
    let matching = paths().find(|(path, _)| matches(path, address));
    let Some((_, operations)) = matching else {
        assert_eq!(answer.status, 404, "{asked}");
        return;
    };
    let operation = &operations[method.as_str().to_lowercase()];
    if operation.is_null() {
        let beside = [204, 405].contains(&answer.status.as_u16()) || *method == Method::HEAD;
        assert!(beside, "{asked}");
        return;
    }
    if answer.status == 304 {
        return;
    }
    let response = &operation["responses"][answer.status.as_str()];
    assert!(
        !response.is_null(),
        "{asked} is not in the contract: {answer:?}"
    );
    let response = match response["$ref"].as_str() {
        Some(reference) => OPENAPI.pointer(reference.trim_start_matches('#')).unwrap(),
        None => response,
    };
    let media_type = answer.header("content-type").split(';').next().unwrap();
    let content = &response["content"];
    if content.is_null() {
        return;
    }
    let content = &content[media_type];
    assert!(!content.is_null(), "{asked} is {media_type}");
    if let Some(schema) = content.get("schema") {
        let valid = validator(schema);
        let errors: Vec<_> = valid
            .iter_errors(&answer.body)
            .map(|e| e.to_string())
            .collect();
        assert!(errors.is_empty(), "{asked}: {errors:?} in {}", answer.body);
    }
}

/// The path of the contract that an address belongs to.
pub(crate) fn path_of(address: &str) -> Option<&'static str> {
    let address = address.split('?').next().unwrap();
    let mut matching = paths().map(|(path, _)| path);
    matching.find(|path| matches(path, address))
}

fn matches(path: &str, address: &str) -> bool {
    let (mut path, mut address) = (path.split('/'), address.split('/'));
    loop {
        match (path.next(), address.next()) {
            (None, None) => return true,
            (Some(of), Some(given))
                if of == given || (of.starts_with('{') && !given.is_empty()) => {}
            _ => return false,
        }
    }
}

fn validator(schema: &Value) -> Arc<Validator> {
    let mut validators = VALIDATORS.lock().unwrap();
    let known = validators.entry(schema.to_string()).or_insert_with(|| {
        let mut schema = schema.clone();
        if schema.is_object() {
            schema["components"] = OPENAPI["components"].clone();
        }
        let options = jsonschema::options().should_validate_formats(true);
        Arc::new(options.build(&schema).unwrap())
    });
    known.clone()
}
