//! A walk through an object with the schema at hand: what a field is, how its list's items are told apart.

use serde_json::Value;

use super::types::{Field, ListKind, Merge, Type, TypeDef, type_def};
use crate::kinds::registry::{Behaviour, Kind};
use crate::kinds::structural::Schema;

/// A place in an object as its schema sees it. Cheap to copy: it points into the schema.
///
/// Where nothing is known, the value itself decides: objects are granular, lists are one value (structured-merge-diff's
/// deduced type).
#[derive(Debug, Clone, Copy)]
pub struct Node<'a> {
    place: Place<'a>,
    /// The field that led here.
    field: Option<&'a Field>,
}

#[derive(Debug, Clone, Copy)]
enum Place<'a> {
    Struct(&'a TypeDef),
    Map(&'a Type),
    List(&'a Type),
    Scalar,
    /// A place of a custom resource.
    Structural(&'a Schema),
    Deduced,
}

/// What stands in `metadata` of every resource.
const METADATA: Type = Type::Object("ObjectMeta");

impl<'a> Place<'a> {
    fn of(ty: &'a Type) -> Self {
        match ty {
            Type::Object(name) | Type::ObjectOr(name) => type_def(name).map_or(Self::Deduced, Self::Struct),
            Type::Map(inner) => Self::Map(inner),
            Type::List(inner) => Self::List(inner),
            Type::Any => Self::Deduced,
            Type::String
            | Type::Bytes
            | Type::Int32
            | Type::Int64
            | Type::Number
            | Type::Bool
            | Type::Quantity
            | Type::IntOrString
            | Type::Time
            | Type::MicroTime => Self::Scalar,
        }
    }
}

impl<'a> Node<'a> {
    /// A place of which nothing is known.
    pub const DEDUCED: Self = Self { place: Place::Deduced, field: None };

    /// The whole object of a kind.
    pub fn root(kind: &'a Kind) -> Self {
        let place = match &kind.behaviour {
            Behaviour::BuiltIn { schema, .. } => type_def(schema).map_or(Place::Deduced, Place::Struct),
            Behaviour::Custom(custom) => Place::Structural(custom.schema()),
        };
        Self { place, field: None }
    }

    /// A member of an object: a struct's field, or a map's value.
    pub fn field(self, name: &str) -> Self {
        match self.place {
            Place::Struct(def) => match def.fields.get(name) {
                Some(field) => Self { place: Place::of(&field.ty), field: Some(field) },
                None => Self::DEDUCED,
            },
            Place::Map(inner) => Self { place: Place::of(inner), field: None },
            Place::Structural(schema) if schema.is_resource() && name == "metadata" => {
                Self { place: Place::of(&METADATA), field: None }
            }
            Place::Structural(schema) => schema
                .member(name)
                .map_or(Self::DEDUCED, |member| Self { place: Place::Structural(member), field: None }),
            Place::List(_) | Place::Scalar | Place::Deduced => Self::DEDUCED,
        }
    }

    /// Whether the schema names this member; a map's keys and what nothing is known of are not named.
    pub fn names(self, name: &str) -> bool {
        match self.place {
            Place::Struct(def) => def.fields.contains_key(name),
            Place::Structural(schema) => schema.names(name) || (schema.is_resource() && name == "metadata"),
            Place::Map(_) | Place::List(_) | Place::Scalar | Place::Deduced => false,
        }
    }

    /// An item of a list.
    pub fn item(self) -> Self {
        match self.place {
            Place::List(inner) => Self { place: Place::of(inner), field: None },
            Place::Structural(schema) => schema
                .item()
                .map_or(Self::DEDUCED, |item| Self { place: Place::Structural(item), field: None }),
            Place::Struct(_) | Place::Map(_) | Place::Scalar | Place::Deduced => Self::DEDUCED,
        }
    }

    /// How the items of the list here are told apart.
    pub fn list(self) -> ListKind<'a> {
        match (self.place, self.field) {
            (Place::List(_), Some(field)) => field.list.kind(),
            (Place::Structural(schema), _) => schema.list_type().kind(),
            _ => ListKind::Atomic,
        }
    }

    /// The object here is one value, owned as a whole.
    pub fn atomic_map(self) -> bool {
        let here = match self.place {
            Place::Struct(def) => def.atomic,
            Place::Structural(schema) => schema.is_atomic(),
            Place::Map(_) | Place::List(_) | Place::Scalar | Place::Deduced => false,
        };
        here || self.field.is_some_and(|field| field.atomic)
    }

    /// Kubernetes' form of the holder always has this member, if only as `{}` or `null`: a struct in it that is not behind a
    /// pointer, or a list or a map that is written even when empty.
    pub fn embedded(self) -> bool {
        let written = |field: &Field| field.always && matches!(field.ty, Type::List(_) | Type::Map(_));
        self.field.is_some_and(|field| field.embedded || written(field))
    }

    /// The value here where it is left out and is the key of a list.
    pub fn default(self) -> Option<&'a Value> {
        match self.place {
            Place::Structural(schema) => schema.default_value(),
            _ => self.field.and_then(|field| field.default.as_ref()),
        }
    }

    /// How a strategic merge patch treats the list here.
    pub(in crate::kinds) fn merge(self) -> Merge {
        self.field.map_or(Merge::Plain, |field| field.merge)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::kinds::testing::kind;

    fn at<'a>(kind_name: &str, path: &str) -> Node<'a> {
        path.split('.').fold(Node::root(kind(kind_name)), |node, step| match step {
            "*" => node.item(),
            name => node.field(name),
        })
    }

    #[test]
    fn lists_are_what_the_schema_says() {
        let keys = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>();
        assert_eq!(at("Service", "spec.ports").list(), ListKind::Map(&keys(&["port", "protocol"])));
        let ports = at("Deployment", "spec.template.spec.containers.*.ports");
        assert_eq!(ports.list(), ListKind::Map(&keys(&["containerPort", "protocol"])));
        assert_eq!(ports.item().field("protocol").default(), Some(&json!("TCP")));
        assert_eq!(ports.item().field("name").default(), None);
        assert_eq!(at("Pod", "metadata.finalizers").list(), ListKind::Set);
        assert_eq!(at("Pod", "spec.tolerations").list(), ListKind::Atomic);
        assert_eq!(at("Pod", "spec.containers.*.command").list(), ListKind::Atomic);
        assert_eq!(at("Pod", "spec.unheard.of").list(), ListKind::Atomic);
    }

    #[test]
    fn maps_are_granular_unless_the_schema_says_otherwise() {
        assert!(at("Service", "spec.selector").atomic_map());
        assert!(at("Deployment", "spec.selector").atomic_map());
        assert!(at("Pod", "metadata.ownerReferences.*").atomic_map());
        for (kind, path) in
            [("Service", "spec"), ("ConfigMap", "data"), ("Pod", "metadata.labels"), ("Pod", "x.y")]
        {
            assert!(!at(kind, path).atomic_map(), "{kind} {path}");
        }
    }

    #[test]
    fn structs_name_their_fields_and_maps_do_not() {
        assert!(at("Pod", "metadata").names("labels"));
        assert!(!at("Pod", "metadata").names("nothing"));
        assert!(!at("Pod", "metadata.labels").names("app"));
        assert!(at("Deployment", "spec.strategy").embedded());
        assert!(!at("Deployment", "spec.strategy.rollingUpdate").embedded());
        assert!(at("Pod", "spec.containers").embedded());
        assert!(!at("Service", "spec.ports").embedded());
    }
}
