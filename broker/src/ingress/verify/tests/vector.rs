//! Webhooks as providers send them, with what verifies them: data of two files.

use std::collections::BTreeMap;

use http::{HeaderMap, HeaderName, Method, Uri};
use serde::Deserialize;

use crate::{
    config::Secret,
    ingress::verify::{Expected, Incoming, KeySet, Rejection, Scheme, SchemeConfig, Verifier},
};

#[derive(Deserialize)]
struct Vectors {
    vector: Vec<Vector>,
}

/// One of them.
#[derive(Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Vector {
    pub(crate) name: String,
    /// Whose it is: of the provider's documentation, or of the second implementation.
    pub(crate) origin: String,
    pub(crate) scheme: SchemeConfig,
    pub(crate) secret: String,
    /// Seconds since 1970.
    pub(crate) now: u64,
    #[serde(default = "target")]
    pub(crate) target: String,
    #[serde(default)]
    pub(crate) base: String,
    #[serde(default)]
    pub(crate) allow: BTreeMap<String, Vec<String>>,
    #[serde(default)]
    pub(crate) fetched: Option<Published>,
    pub(crate) headers: BTreeMap<String, String>,
    pub(crate) body: String,
}

/// What every source shows its provider.
pub(crate) const SHOWN: &str = "sk_shown-to-the-provider-alone";

/// What is found at an address.
#[derive(Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Published {
    pub(crate) url: String,
    /// The key that is asked for there, where that is said beside the address.
    #[serde(default)]
    pub(crate) id: Option<String>,
    pub(crate) body: String,
}

impl Published {
    /// By what the keys are remembered.
    pub(crate) fn name(&self) -> String {
        self.id.as_ref().map_or_else(|| self.url.clone(), |id| format!("{} {id}", self.url))
    }
}

fn target() -> String {
    "/hooks/x".to_owned()
}

/// All of them: published ones, and those of the second implementation.
pub(crate) fn vectors() -> Vec<Vector> {
    let files = [include_str!("../vectors.toml"), include_str!("../vectors-made.toml")];
    files.into_iter().flat_map(|file| toml::from_str::<Vectors>(file).unwrap().vector).collect()
}

impl Vector {
    pub(crate) fn find(name: &str) -> Self {
        vectors().into_iter().find(|vector| vector.name == name).unwrap()
    }

    pub(crate) fn headers(&self) -> HeaderMap {
        self.headers.iter().map(|(name, value)| (name.parse::<HeaderName>().unwrap(), value.parse().unwrap())).collect()
    }

    pub(crate) fn scheme(&self) -> &Scheme {
        &self.scheme.scheme
    }

    pub(crate) fn verifier(&self) -> Verifier {
        let expected = Expected { base: self.base.clone(), allow: self.allow.clone(), access: self.access() };
        let secret = (!self.secret.is_empty()).then(|| Secret::new(&*self.secret));
        assert_eq!(self.scheme().problems(), [], "{}", self.name);
        Verifier::new(self.scheme().clone(), secret.as_slice(), expected).unwrap()
    }

    /// What is shown to the provider.
    pub(crate) fn access(&self) -> BTreeMap<String, Secret> {
        self.scheme().access().into_iter().map(|name| (name.to_owned(), Secret::new(SHOWN))).collect()
    }

    pub(crate) fn wall(&self) -> u64 {
        self.now * 1_000_000
    }

    /// The keys that the provider publishes.
    pub(crate) fn keys(&self) -> Option<KeySet> {
        let published = self.fetched.as_ref()?;
        self.scheme().reading().unwrap().read(published.body.as_bytes()).unwrap()
    }

    pub(crate) fn verify(&self) -> Result<(), Rejection> {
        self.verify_as(&self.verifier(), &self.headers(), self.body.as_bytes(), self.wall())
    }

    /// The same request with other headers, body or time.
    pub(crate) fn verify_as(&self, verifier: &Verifier, headers: &HeaderMap, body: &[u8], wall: u64) -> Result<(), Rejection> {
        let target: Uri = self.target.parse().unwrap();
        let request = Incoming { method: &Method::POST, target: &target, headers, body };
        let at = verifier.keys_of(request)?;
        assert_eq!(at.map(|at| at.url), self.fetched.as_ref().map(|published| published.url.clone()), "{}", self.name);
        verifier.verify(request, self.keys().as_ref(), wall)
    }
}
