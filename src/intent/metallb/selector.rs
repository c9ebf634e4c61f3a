//! Label selectors of MetalLB's objects: the API server does not check them, and a speaker refuses one that is wrong.

use std::collections::{BTreeMap, BTreeSet};

use serde::Deserialize;

use crate::intent::settings::{LabelExpression, LabelOperator, LabelSelector};

/// A label selector as the API has it, where nobody has checked it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub(super) struct Selector {
    match_labels: BTreeMap<String, String>,
    match_expressions: Vec<Expression>,
}

#[derive(Debug, Clone, Default, PartialEq, Eq, PartialOrd, Ord, Deserialize)]
#[serde(default)]
struct Expression {
    key: String,
    operator: String,
    values: Vec<String>,
}

/// All of them, or what is wrong with one.
pub(super) fn selectors(field: &str, raw: &[Selector]) -> Result<Vec<LabelSelector>, String> {
    raw.iter().map(|one| selector(one).map_err(|problem| format!("{field}: {problem}"))).collect()
}

/// As `metav1.LabelSelectorAsSelector` takes it.
fn selector(raw: &Selector) -> Result<LabelSelector, String> {
    let Selector { match_labels, match_expressions } = raw;
    for (key, value) in match_labels {
        fits(key, std::slice::from_ref(value))?;
    }
    let expression = |one: &Expression| {
        let Expression { key, operator, values } = one;
        fits(key, values)?;
        let (operator, wants_values) = match operator.as_str() {
            "In" => (LabelOperator::In, true),
            "NotIn" => (LabelOperator::NotIn, true),
            "Exists" => (LabelOperator::Exists, false),
            "DoesNotExist" => (LabelOperator::DoesNotExist, false),
            other => return Err(format!("{other:?} is not an operator")),
        };
        if values.is_empty() == wants_values {
            let wanted = if wants_values { "values" } else { "no values" };
            return Err(format!("{key}: expected {wanted} with {operator:?}"));
        }
        Ok(LabelExpression { key: key.clone(), operator, values: values.clone() })
    };
    let match_expressions = match_expressions.iter().map(expression).collect::<Result<_, _>>()?;
    Ok(LabelSelector { match_labels: match_labels.clone(), match_expressions })
}

/// A label's key and values have the form that Kubernetes demands (`k8s.io/apimachinery/pkg/util/validation`).
fn fits(key: &str, values: &[String]) -> Result<(), String> {
    let word = |text: &str| {
        let inner = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
        let outer = |c: char| c.is_ascii_alphanumeric();
        text.len() <= 63 && text.chars().all(inner) && text.starts_with(outer) && text.ends_with(outer)
    };
    let domain = |text: &str| {
        let label = |part: &str| {
            let inner = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
            !part.is_empty() && part.chars().all(inner) && !part.starts_with('-') && !part.ends_with('-')
        };
        text.len() <= 253 && text.split('.').all(label)
    };
    let good_key = match key.split_once('/') {
        None => word(key),
        Some((prefix, name)) => domain(prefix) && word(name),
    };
    if !good_key {
        return Err(format!("{key:?} is not a label key"));
    }
    match values.iter().find(|value| !value.is_empty() && !word(value)) {
        Some(value) => Err(format!("{value:?} is not a label value")),
        None => Ok(()),
    }
}

/// Nothing is there twice.
pub(super) fn once(field: &str, all: &[String]) -> Result<(), String> {
    let mut seen = BTreeSet::new();
    match all.iter().find(|one| !seen.insert(*one)) {
        Some(twice) => Err(format!("{field}: {twice:?} is there twice")),
        None => Ok(()),
    }
}

/// No selector twice, no expression twice in one, no value twice in an expression; the order of values does not matter.
pub(super) fn once_each(field: &str, all: &[Selector]) -> Result<(), String> {
    let mut sorted = all.to_vec();
    for expression in sorted.iter_mut().flat_map(|selector| selector.match_expressions.iter_mut()) {
        expression.values.sort();
        once(field, &expression.values)?;
    }
    let twice = |what: &str| Err(format!("{field}: the same {what} is there twice"));
    for (at, one) in sorted.iter().enumerate() {
        let expressions: BTreeSet<&Expression> = one.match_expressions.iter().collect();
        if expressions.len() != one.match_expressions.len() {
            return twice("expression");
        }
        if sorted.iter().skip(at + 1).any(|other| other == one) {
            return twice("selector");
        }
    }
    Ok(())
}
