//! `yamlencode` and `yamldecode`, as the `go-cty-yaml` library does them: strings are written in quotes, and scalars mean
//! what they mean in YAML 1.1. Only what is around scalars is read as YAML 1.2 has it.

mod decode;
mod encode;
mod scalar;

use imgbuild_hcl::eval::{Function, Functions};
use imgbuild_hcl::value::{Type, Value};

use crate::{any, text, wrong};

pub(crate) fn add(functions: &mut Functions) {
    let yamlencode = Function::new("A value in YAML.")
        .parameter(any("value").allow_null().allow_dynamic().wholly_known())
        .returns(Type::String)
        .runs(|a| Ok(Value::string(encode::encoded(&a.get(0)))));
    functions.add("yamlencode", yamlencode);
    let yamldecode = Function::new("The value that YAML stands for.")
        .parameter(text("src"))
        .runs(|a| decode::decoded(a.str(0)).map_err(|reason| wrong(0, reason)));
    functions.add("yamldecode", yamldecode);
}
