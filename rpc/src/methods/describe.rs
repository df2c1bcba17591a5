//! The description of a method: its parameters, the fields of its result, and its errors.
//!
//! The server reads arguments by these descriptions, and `docs/rpc.md` and `docs/openapi.json` are written from them.

use crate::error::Kind;

/// A parameter of a method.
#[derive(Debug, PartialEq)]
pub struct Param {
    /// Name of the parameter.
    pub name: &'static str,
    /// Form of its values.
    pub form: Form,
    /// What applies if it is absent.
    pub absent: Absent,
    /// Smallest and greatest number that are used.
    pub bounds: Option<(i64, i64)>,
    /// Meaning of the parameter, and its bounds in words if they are not two fixed numbers.
    pub about: &'static str,
    /// A value for the example, as in a URI.
    pub example: Option<&'static str>,
}

/// The form of a parameter's values. `args.rs` reads each form.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    /// An integer of 64 bits.
    Number,
    /// A boolean, true or false.
    Boolean,
    /// A string of any characters.
    Text,
    /// A list of strings, or strings separated by commas.
    Texts,
    /// Bytes: base64 in JSON.
    Bytes,
    /// Bytes: hexadecimal digits in JSON too.
    Hex,
    /// A hash of 32 bytes.
    Hash,
    /// Any value of JSON.
    Json,
}

/// What applies if a parameter is absent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Absent {
    /// The call fails without it.
    Fails,
    /// This number is used instead.
    Number(i64),
    /// False is used instead.
    False,
    /// What the text says is used.
    Means(&'static str),
}

/// A field of a method's result.
#[derive(Debug, PartialEq)]
pub struct Field {
    /// Name of the field.
    pub name: &'static str,
    /// JSON type of the field.
    pub shape: Shape,
    /// False if the field is left out of some results.
    pub always: bool,
    /// Meaning of the field.
    pub about: &'static str,
}

/// The JSON type of a field.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shape {
    /// An object of JSON.
    Object,
    /// An object, or null.
    ObjectOrNull,
    /// A list of values.
    List,
    /// A list, or null.
    ListOrNull,
    /// A string for people or programs.
    Text,
    /// A string of decimal digits, as CometBFT writes numbers of 64 bits.
    Decimal,
    /// A number without a fraction.
    Integer,
    /// A boolean, true or false.
    Boolean,
}

/// An error of a method.
#[derive(Debug, PartialEq)]
pub struct Case {
    /// The code that the error has.
    pub kind: Kind,
    /// Condition under which the method fails.
    pub when: &'static str,
}

impl Param {
    /// Describes a parameter that may be left out.
    pub const fn optional(name: &'static str, form: Form, absent: &'static str, about: &'static str) -> Self {
        Self { name, form, absent: Absent::Means(absent), bounds: None, about, example: None }
    }

    /// Describes a parameter without which the call fails.
    pub const fn required(name: &'static str, form: Form, about: &'static str) -> Self {
        Self { name, form, absent: Absent::Fails, bounds: None, about, example: None }
    }

    /// Describes a boolean, which is false if it is absent.
    pub const fn flag(name: &'static str, about: &'static str) -> Self {
        Self { name, form: Form::Boolean, absent: Absent::False, bounds: None, about, example: None }
    }

    /// Describes a number with a default and bounds.
    pub const fn number(name: &'static str, default: i64, bounds: (i64, i64), about: &'static str) -> Self {
        let absent = Absent::Number(default);
        Self { name, form: Form::Number, absent, bounds: Some(bounds), about, example: None }
    }

    /// Adds a value for the example.
    pub const fn like(self, example: &'static str) -> Self {
        Self { example: Some(example), ..self }
    }
}

impl Field {
    /// Describes a field that each result has.
    pub const fn new(name: &'static str, shape: Shape, about: &'static str) -> Self {
        Self { name, shape, always: true, about }
    }

    /// Describes a field that some results do not have.
    pub const fn sometimes(name: &'static str, shape: Shape, about: &'static str) -> Self {
        Self { name, shape, always: false, about }
    }
}

impl Case {
    /// Describes an error of the code with which methods refuse a call.
    pub const fn refused(when: &'static str) -> Self {
        Self { kind: Kind::Internal, when }
    }

    /// Describes an error for an argument that cannot be used.
    pub const fn argument(when: &'static str) -> Self {
        Self { kind: Kind::InvalidParams, when }
    }

    /// Describes an error of a server that is overloaded.
    pub const fn busy(when: &'static str) -> Self {
        Self { kind: Kind::Server, when }
    }
}
