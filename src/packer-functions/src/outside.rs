//! Functions that ask for values elsewhere: the environment, Consul, Vault, AWS Secrets Manager.
//!
//! What Vault and AWS Secrets Manager give is marked as sensitive, which Packer does not do.

use std::sync::Arc;

use imgbuild_hcl::eval::{CallError, Function, Functions};
use imgbuild_hcl::value::{Mark, Type, Value};

use crate::host::{Host, SecretRequest};
use crate::text;

pub(crate) fn add(functions: &mut Functions, host: &Arc<dyn Host>) {
    functions.add("env", env(host));
    let asking = Arc::clone(host);
    let consul = Function::new("The value of a key of Consul.")
        .parameter(text("key"))
        .returns(Type::String)
        .runs(move |a| {
            ask(asking.as_ref(), SecretRequest::Consul { key: a.str(0).to_owned() }).map(Value::string)
        });
    functions.add("consul_key", consul);
    let asking = Arc::clone(host);
    let vault = Function::new("A field of a secret of Vault.")
        .parameter(text("path"))
        .parameter(text("key"))
        .returns(Type::String)
        .runs(move |a| {
            let request = SecretRequest::Vault { path: a.str(0).to_owned(), key: a.str(1).to_owned() };
            ask(asking.as_ref(), request).map(sensitive)
        });
    functions.add("vault", vault);
    let asking = Arc::clone(host);
    let aws = Function::new("A field of a secret of AWS Secrets Manager.")
        .parameter(text("name"))
        .parameter(text("key").allow_null())
        .returns(Type::String)
        .runs(move |a| {
            let key = a.get(1).as_str().filter(|key| !key.is_empty()).map(str::to_owned);
            ask(asking.as_ref(), SecretRequest::Aws { name: a.str(0).to_owned(), key }).map(sensitive)
        });
    functions.add("aws_secretsmanager", aws);
    let asking = Arc::clone(host);
    let raw = Function::new("The text of a secret of AWS Secrets Manager as it is.")
        .parameter(text("name"))
        .returns(Type::String)
        .runs(move |a| {
            ask(asking.as_ref(), SecretRequest::AwsRaw { name: a.str(0).to_owned() }).map(sensitive)
        });
    functions.add("aws_secretsmanager_raw", raw);
}

/// `env(key)`: a variable of the environment; an empty text if it is not set.
pub(crate) fn env(host: &Arc<dyn Host>) -> Function {
    let asking = Arc::clone(host);
    Function::new("A variable of the environment.")
        .parameter(text("key"))
        .returns(Type::String)
        .runs(move |a| Ok(Value::string(asking.env(a.str(0)).unwrap_or_default())))
}

fn sensitive(secret: String) -> Value {
    Value::string(secret).mark(Mark::SENSITIVE)
}

fn ask(host: &dyn Host, request: SecretRequest) -> Result<String, CallError> {
    host.secret(&request).map_err(|error| {
        let failed = CallError::new(format!("{} gave no value: {error}", request.store()));
        match error.hint() {
            Some(hint) => failed.hint(hint),
            None => failed,
        }
    })
}
