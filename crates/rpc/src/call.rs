//! What is a call? A method of a service, its arguments as one request, and who carries it out.
//!
//! [`service!`] makes of a list of methods: the request types, the trait for any [`Caller`] behind a
//! [`Client`], and the tower service that answers for an implementation ([`crate::serve::Offer`]).

use std::future::Future;
use std::time::Duration;

use redkite_service::Result;
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::RpcSettings;

/// One method, as the caller knows it.
#[derive(Debug)]
pub(crate) struct Method {
    /// `/<service>/<method>`.
    pub(crate) path: &'static str,
    pub(crate) effect: Effect,
}

/// What a call does to the callee.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Effect {
    /// Nothing, or nothing more when done again: if the answer is lost, the call may just be repeated.
    Read,
    /// Something that may have happened when the answer is lost.
    Write,
    /// A definition command: repeated under its id until it is answered.
    Command,
    /// What takes as long as it takes, and is not repeated.
    Wait,
}

impl Method {
    /// How long the call may take.
    pub(crate) fn timeout(&self, settings: &RpcSettings) -> Option<Duration> {
        match self.effect {
            Effect::Read => Some(settings.read_timeout),
            Effect::Write => Some(settings.write_timeout),
            Effect::Command => Some(settings.command_timeout),
            Effect::Wait => None,
        }
    }
}

/// What goes over the wire as a request.
pub(crate) trait Request: Serialize + Send + Sync + 'static {}
impl<T: Serialize + Send + Sync + 'static> Request for T {}

/// What comes back.
pub(crate) trait Reply: DeserializeOwned + Send + Sync + 'static {}
impl<T: DeserializeOwned + Send + Sync + 'static> Reply for T {}

/// Carries out calls: on one node, or on whichever coordinator is active.
pub(crate) trait Caller: Send + Sync {
    /// Calls and waits for the answer.
    fn call<Q: Request, A: Reply>(
        &self,
        method: &'static Method,
        request: Q,
    ) -> impl Future<Output = Result<A>> + Send;
}

/// The services' traits, carried out by a [`Caller`].
#[derive(Clone, Debug)]
pub(crate) struct Client<C>(pub(crate) C);

/// Makes both ends of a service from the list of its methods. The methods are those of the trait.
macro_rules! service {
    ($module:ident: $trait:ident, $name:literal {
        $( $method:ident = $effect:ident $function:ident ( $($argument:ident: $type:ty),* ) -> $answer:ty; )*
    }) => {
        mod $module {
            use super::*;

            $(
                #[derive(Serialize, Deserialize)]
                pub(super) struct $method { $( pub(super) $argument: $type, )* }
            )*
        }

        #[async_trait]
        impl<C: Caller> $trait for Client<C> {
            $(
                async fn $function(&self, $($argument: $type),*) -> Result<$answer> {
                    const METHOD: Method =
                        Method { path: concat!("/", $name, "/", stringify!($method)), effect: Effect::$effect };
                    self.0.call(&METHOD, $module::$method { $($argument),* }).await
                }
            )*
        }

        impl Offer<dyn $trait> {
            /// Carries out a call; `None` if it is of another service.
            pub(crate) fn dispatch(
                &self,
                path: &str,
                meant: Option<NodeId>,
                request: &[u8],
            ) -> Option<BoxFuture<'static, Bytes>> {
                match path {
                    $(
                        concat!("/", $name, "/", stringify!($method)) => Some(self.reply(
                            meant,
                            request,
                            |service, $module::$method { $($argument),* }| async move {
                                service.$function($($argument),*).await
                            },
                        )),
                    )*
                    _ => None,
                }
            }
        }

        impl NamedService for Offer<dyn $trait> {
            const NAME: &'static str = $name;
        }

        impl tower::Service<http::Request<Body>> for Offer<dyn $trait> {
            type Response = http::Response<Body>;
            type Error = Infallible;
            type Future = BoxFuture<'static, std::result::Result<Self::Response, Infallible>>;

            fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<std::result::Result<(), Infallible>> {
                Poll::Ready(Ok(()))
            }

            fn call(&mut self, request: http::Request<Body>) -> Self::Future {
                match request.uri().path() {
                    $(
                        concat!("/", $name, "/", stringify!($method)) => self.answer(
                            request,
                            |service, $module::$method { $($argument),* }| async move {
                                service.$function($($argument),*).await
                            },
                        ),
                    )*
                    _ => self.unknown(),
                }
            }
        }
    };
}

pub(crate) use service;
