//! `--profile`: whose rules decide, where Envoy's versions and gRPC's client differ.

use clap::Args;
use clap::builder::{PossibleValuesParser, TypedValueParser};
use twinmesh_xds::Profile;

use crate::engines;
use crate::failure::Failure;

/// The flag that all deciding commands have.
#[derive(Debug, Clone, Copy, Default, Args)]
pub struct ProfileArgument {
    /// Whose rules decide, where they differ: those of Envoy 1.40 (the default), of Envoy 1.38, or of
    /// gRPC's xDS client; docs/profiles.md.
    #[arg(long = "profile", value_name = "NAME", value_parser = parser())]
    given: Option<Profile>,
}

impl ProfileArgument {
    /// The profile.
    pub fn profile(self) -> Profile {
        self.given.unwrap_or_default()
    }

    /// Whether these engines can decide by it.
    ///
    /// # Errors
    /// A live Envoy is no gRPC client.
    pub fn fits(self, engines: &[String]) -> Result<(), Failure> {
        if self.profile() == Profile::Grpc && engines.iter().any(|name| name == engines::LIVE) {
            return Err(Failure(format!(
                "--profile grpc: the engine `{}` is an Envoy, which does not decide as gRPC's client does",
                engines::LIVE
            )));
        }
        Ok(())
    }

    /// The profile, which has to be an Envoy's: `with` is what knows no other.
    ///
    /// # Errors
    /// It is gRPC's.
    pub fn of_an_envoy(self, with: &str) -> Result<Profile, Failure> {
        match self.profile() {
            Profile::Grpc => Err(Failure(format!(
                "--profile grpc: {with} goes by an Envoy's rules; expected envoy-1.40 or envoy-1.38"
            ))),
            profile => Ok(profile),
        }
    }

    /// The profile, where the flag was given.
    pub fn given(self) -> Option<Profile> {
        self.given
    }
}

fn parser() -> impl TypedValueParser<Value = Profile> {
    PossibleValuesParser::new(Profile::ALL.map(Profile::name))
        .try_map(|text| text.parse::<Profile>())
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Debug, Parser)]
    struct Call {
        #[command(flatten)]
        profile: ProfileArgument,
    }

    #[test]
    fn a_profile_is_named_or_envoys_own() {
        let call = Call::parse_from(["call"]);
        assert_eq!(call.profile.profile(), Profile::Envoy140);
        assert_eq!(call.profile.given(), None);
        let call = Call::parse_from(["call", "--profile", "envoy-1.38"]);
        assert_eq!(call.profile.given(), Some(Profile::Envoy138));
        assert!(call.profile.fits(&["envoy".to_owned()]).is_ok());
        let call = Call::parse_from(["call", "--profile", "grpc"]);
        assert!(call.profile.fits(&["spec".to_owned()]).is_ok());
        let Err(Failure(message)) = call.profile.fits(&["envoy".to_owned()]) else {
            panic!("an Envoy is no gRPC client");
        };
        assert!(message.contains("--profile grpc"), "{message}");
        let error = Call::try_parse_from(["call", "--profile", "envoy-1.39"]).expect_err("none");
        assert!(
            error.to_string().contains("envoy-1.40, envoy-1.38, grpc"),
            "{error}"
        );
    }
}
