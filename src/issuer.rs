//! `flow issuer`: foreign issuers whose access tokens are accepted, and their clients.

use anyhow::ensure;
use ingress::credentials::Scope;
use ingress::oauth::{
    NewIssuer, add_issuer, allow_client, deny_client, list_issuers, remove_issuer,
};
use uuid::Uuid;
use workers::store::parked::audit;

use crate::settings::{Database, PepperFile};

/// Options of `flow issuer`.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    #[command(subcommand)]
    action: Action,
    #[command(flatten)]
    database: Database,
    #[command(flatten)]
    pepper: PepperFile,
    /// Who decides, for the audit trail.
    #[arg(long, global = true, env = "USER", default_value = "operator")]
    operator: String,
}

#[derive(Debug, clap::Subcommand)]
enum Action {
    /// Trusts an issuer of access tokens (Entra ID, Keycloak, …), or changes what they must be like. Its
    /// clients act for nobody until they are allowed to.
    Add {
        /// Its issuer identifier, to the letter as in its tokens.
        issuer: String,
        /// What its tokens for this API have as audience.
        #[arg(long)]
        audience: String,
        /// The algorithms that it may sign with.
        #[arg(long, value_delimiter = ',', default_value = "RS256")]
        algorithms: Vec<String>,
        /// The type of its access tokens: at+jwt, or JWT for a server that knows no RFC 9068.
        #[arg(long, default_value = "at+jwt", value_parser = ["at+jwt", "JWT"])]
        token_type: String,
        /// The claim that names the client.
        #[arg(long, default_value = "client_id")]
        client_claim: String,
        /// The claim that names scopes. Empty: a client has all that it is allowed here.
        #[arg(long, default_value = "scope")]
        scope_claim: String,
    },
    /// Lets a client of an issuer act for an account, or changes what it may do.
    Allow {
        /// The issuer.
        issuer: String,
        /// What the issuer calls it.
        #[arg(long)]
        client: String,
        /// The account it acts for.
        #[arg(long)]
        account: Uuid,
        /// What it may do at most; without any, everything within the account.
        #[arg(long, value_delimiter = ',')]
        scopes: Vec<Scope>,
    },
    /// Lets a client of an issuer act no more. Its tokens stop working everywhere within seconds.
    Deny {
        /// The issuer.
        issuer: String,
        /// What the issuer calls it.
        #[arg(long)]
        client: String,
    },
    /// Trusts an issuer no more, and forgets its clients.
    Remove {
        /// The issuer.
        issuer: String,
    },
    /// Lists issuers with their clients.
    List,
}

#[expect(clippy::print_stdout, reason = "the result of the command")]
pub(crate) async fn run(args: Args) -> anyhow::Result<()> {
    let db = args.database.connect().await?;
    let operator = args.operator;
    match args.action {
        Action::Add {
            issuer,
            audience,
            algorithms,
            token_type,
            client_claim,
            scope_claim,
        } => {
            let new = NewIssuer {
                issuer: &issuer,
                audience: &audience,
                algorithms: &algorithms,
                token_type: &token_type,
                client_claim: &client_claim,
                scope_claim: Some(scope_claim.as_str()).filter(|claim| !claim.is_empty()),
            };
            let pepper = args.pepper.open(&db).await?;
            add_issuer(&db, &pepper, new).await?;
            audit(&db, &operator, "foreign_issuer.add", &issuer, None).await?;
            println!("trusts {issuer}");
        }
        Action::Allow {
            issuer,
            client,
            account,
            mut scopes,
        } => {
            if scopes.is_empty() {
                scopes = Scope::of_customers();
            }
            let pepper = args.pepper.open(&db).await?;
            allow_client(&db, &pepper, (&issuer, &client), account, &scopes).await?;
            let note = format!("{client} acts for {account}");
            audit(&db, &operator, "foreign_client.allow", &issuer, Some(&note)).await?;
            println!("{note}");
        }
        Action::Deny { issuer, client } => {
            ensure!(
                deny_client(&db, (&issuer, &client)).await?,
                "this client acts for nobody"
            );
            audit(
                &db,
                &operator,
                "foreign_client.deny",
                &issuer,
                Some(&client),
            )
            .await?;
            println!("{client} acts for nobody");
        }
        Action::Remove { issuer } => {
            ensure!(
                remove_issuer(&db, &issuer).await?,
                "this issuer is not trusted"
            );
            audit(&db, &operator, "foreign_issuer.remove", &issuer, None).await?;
            println!("trusts {issuer} no more");
        }
        Action::List => {
            for (issuer, clients) in list_issuers(&db).await? {
                println!(
                    "{}  audience {}  algorithms {}  type {}  client in {}  scopes in {}",
                    issuer.id,
                    issuer.audience,
                    issuer.algorithms,
                    issuer.token_type,
                    issuer.client_claim,
                    issuer.scope_claim.as_deref().unwrap_or("-")
                );
                for client in clients {
                    println!(
                        "    {}  account {}  scopes {}",
                        client.client_id, client.account_id, client.scopes
                    );
                }
            }
        }
    }
    Ok(())
}
