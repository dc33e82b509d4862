//! What the pages show, taken from the OpenAPI document.

use schemas::problem::{ProblemType, TYPES};
use serde::Serialize;
use serde_json::Value;

#[derive(Serialize)]
pub(super) struct Page {
    version: String,
    about: Vec<Vec<Span>>,
    groups: Vec<Group>,
    schemas: Vec<SchemaView>,
    problems: Vec<ProblemView>,
}

/// The operations about one noun.
#[derive(Serialize)]
struct Group {
    name: String,
    operations: Vec<Operation>,
}

#[derive(Serialize)]
struct Operation {
    name: String,
    method: String,
    path: String,
    summary: String,
    /// What a credential must allow; empty: any, or none at all.
    scope: String,
    public: bool,
    parameters: Vec<Field>,
    body: Option<Type>,
    answers: Vec<AnswerView>,
}

#[derive(Serialize)]
struct AnswerView {
    status: String,
    about: String,
    of: Option<Type>,
}

#[derive(Serialize)]
struct SchemaView {
    name: String,
    about: Vec<Vec<Span>>,
    fields: Vec<Field>,
}

#[derive(Serialize)]
struct Field {
    name: String,
    place: String,
    required: bool,
    about: Vec<Span>,
    of: Type,
}

/// A piece of text, as code or not.
#[derive(Serialize)]
struct Span {
    text: String,
    code: bool,
}

/// A type in words, with a link to its schema if it has one.
#[derive(Serialize, Default)]
struct Type {
    words: String,
    link: Option<String>,
}

#[derive(Serialize)]
pub(super) struct ProblemView {
    name: &'static str,
    status: u16,
    title: &'static str,
    about: &'static str,
}

/// The whole page.
pub(super) fn page(openapi: &Value) -> Page {
    let mut groups: Vec<Group> = Vec::new();
    for (path, operations) in entries(&openapi["paths"]) {
        for (method, operation) in entries(operations) {
            let tag = text(&operation["tags"][0]);
            let view = operation_view(path, method, operation);
            match groups.iter_mut().find(|group| group.name == tag) {
                Some(group) => group.operations.push(view),
                None => groups.push(Group {
                    name: tag,
                    operations: vec![view],
                }),
            }
        }
    }
    // What is for machines that watch comes last.
    groups.sort_by_key(|group| group.name == "service");
    let schemas = entries(&openapi["components"]["schemas"]);
    Page {
        version: text(&openapi["info"]["version"]),
        about: paragraphs(&openapi["info"]["description"]),
        groups,
        schemas: schemas.map(|(name, of)| schema_view(name, of)).collect(),
        problems: TYPES.iter().map(problem).collect(),
    }
}

/// One kind of problem.
pub(super) fn problem(of: &ProblemType) -> ProblemView {
    ProblemView {
        name: of.name,
        status: of.status,
        title: of.title,
        about: of.about,
    }
}

fn operation_view(path: &str, method: &str, operation: &Value) -> Operation {
    let parameter = |parameter: &Value| Field {
        name: text(&parameter["name"]),
        place: text(&parameter["in"]),
        required: parameter["required"] == true,
        about: spans(&text(&parameter["description"])),
        of: type_of(&parameter["schema"]),
    };
    let answer = |(status, answer): (&String, &Value)| AnswerView {
        status: status.clone(),
        about: text(&answer["description"]),
        of: json_of(answer),
    };
    let own = |(_, answer): &(&String, &Value)| answer.get("$ref").is_none();
    Operation {
        name: text(&operation["operationId"]),
        method: method.to_uppercase(),
        path: path.to_owned(),
        summary: text(&operation["summary"]),
        scope: text(&operation["security"][0]["key"][0]),
        public: operation["security"] == Value::Array(Vec::new()),
        parameters: list(&operation["parameters"])
            .iter()
            .map(parameter)
            .collect(),
        body: json_of(&operation["requestBody"]),
        answers: entries(&operation["responses"])
            .filter(own)
            .map(answer)
            .collect(),
    }
}

fn schema_view(name: &str, schema: &Value) -> SchemaView {
    let required = list(&schema["required"]);
    let field = |(name, of): (&String, &Value)| Field {
        name: name.clone(),
        place: String::new(),
        required: required.iter().any(|required| required == name),
        about: spans(&text(&of["description"])),
        of: type_of(of),
    };
    SchemaView {
        name: name.to_owned(),
        about: paragraphs(&schema["description"]),
        fields: entries(&schema["properties"]).map(field).collect(),
    }
}

/// The type of a JSON content.
fn json_of(carrier: &Value) -> Option<Type> {
    let content = &carrier["content"];
    let form = &content["application/x-www-form-urlencoded"];
    let schema = content["application/json"].get("schema");
    let schema = schema.or(form.get("schema"))?;
    Some(type_of(schema))
}

fn type_of(schema: &Value) -> Type {
    if let Some(target) = schema["$ref"].as_str() {
        let name = target.rsplit('/').next().unwrap_or_default();
        return Type {
            words: name.to_owned(),
            link: Some(name.to_owned()),
        };
    }
    if let Some(either) = schema["anyOf"].as_array() {
        let of = either.iter().find(|of| of["type"] != "null");
        let of = of.map(type_of).unwrap_or_default();
        return Type {
            words: format!("{} or null", of.words),
            link: of.link,
        };
    }
    if schema["enum"].is_array() {
        let names: Vec<_> = list(&schema["enum"]).iter().map(text).collect();
        return plain(names.join(" | "));
    }
    let names = match &schema["type"] {
        Value::Array(names) => names.iter().map(text).collect::<Vec<_>>().join(" or "),
        name => text(name),
    };
    if names == "array" {
        let items = type_of(&schema["items"]);
        return Type {
            words: format!("list of {}", items.words),
            link: items.link,
        };
    }
    match schema["format"].as_str() {
        Some(format) => plain(format!("{names} ({format})")),
        None => plain(names),
    }
}

fn plain(words: String) -> Type {
    Type { words, link: None }
}

fn text(value: &Value) -> String {
    value.as_str().unwrap_or_default().to_owned()
}

fn paragraphs(value: &Value) -> Vec<Vec<Span>> {
    let text = value.as_str().unwrap_or_default();
    text.split("\n\n").map(spans).collect()
}

/// What stands between backticks is code.
fn spans(text: &str) -> Vec<Span> {
    let pieces = text.split('`').enumerate();
    let span = |(index, text): (usize, &str)| Span {
        text: text.to_owned(),
        code: index % 2 == 1,
    };
    pieces
        .map(span)
        .filter(|span| !span.text.is_empty())
        .collect()
}

fn list(value: &Value) -> &[Value] {
    value.as_array().map_or(&[], Vec::as_slice)
}

fn entries(value: &Value) -> impl Iterator<Item = (&String, &Value)> {
    value.as_object().into_iter().flatten()
}
