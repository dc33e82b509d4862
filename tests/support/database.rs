//! A database for one story.

use std::path::Path;

use sea_orm::{
    ConnectOptions, ConnectionTrait, Database, DatabaseConnection, DbBackend, DbErr, Statement,
};
use uuid::Uuid;

use super::suite::Servers;

/// A database, and a way to look into it.
pub(crate) struct TestDatabase {
    url: String,
    /// The name on the PostgreSQL server, and the URL to drop it by.
    server: Option<(String, String)>,
    /// Roles to be dropped with it.
    roles: Vec<String>,
}

impl TestDatabase {
    /// A SQLite file in `folder`.
    pub(crate) fn sqlite(folder: &Path) -> Self {
        Self {
            url: format!("sqlite:{}", folder.join("flow.db").display()),
            server: None,
            roles: Vec::new(),
        }
    }

    /// An empty database on a PostgreSQL server.
    pub(crate) async fn postgres(servers: &Servers) -> Self {
        let server = servers.database.clone();
        let name = format!("test_{}", Uuid::now_v7().simple());
        let admin = open(&server).await;
        admin
            .execute_unprepared(&format!("CREATE DATABASE {name}"))
            .await
            .unwrap();
        let mut url: reqwest::Url = server.parse().unwrap();
        url.set_path(&name);
        Self {
            url: url.to_string(),
            server: Some((name, server)),
            roles: Vec::new(),
        }
    }

    /// Its URL.
    pub(crate) fn url(&self) -> &str {
        &self.url
    }

    /// A role of PostgreSQL that may read and write every row, and owns nothing: what production
    /// gives the application. Returns its URL.
    pub(crate) async fn application_role(&mut self, password: &str) -> String {
        let role = format!("app_{}", Uuid::now_v7().simple());
        let owner = self.connect().await;
        for statement in [
            format!("CREATE ROLE {role} LOGIN PASSWORD '{password}'"),
            format!(
                "GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA public TO {role}"
            ),
            format!("GRANT USAGE ON ALL SEQUENCES IN SCHEMA public TO {role}"),
        ] {
            owner.execute_unprepared(&statement).await.unwrap();
        }
        let mut url: reqwest::Url = self.url.parse().unwrap();
        url.set_username(&role).unwrap();
        url.set_password(Some(password)).unwrap();
        self.roles.push(role);
        url.to_string()
    }

    /// A connection of the test's own.
    pub(crate) async fn connect(&self) -> DatabaseConnection {
        open(&self.url).await
    }

    /// Drops it from its server.
    pub(crate) async fn remove(self) {
        if let Some((name, server)) = self.server {
            let admin = open(&server).await;
            admin
                .execute_unprepared(&format!("DROP DATABASE {name} WITH (FORCE)"))
                .await
                .unwrap();
            for role in self.roles {
                let drop = format!("DROP ROLE {role}");
                admin.execute_unprepared(&drop).await.unwrap();
            }
        }
    }
}

/// A connection to the database at `url`.
pub(crate) async fn open(url: &str) -> DatabaseConnection {
    let mut options = ConnectOptions::new(url);
    options.max_connections(1).sqlx_logging(false);
    Database::connect(options).await.unwrap()
}

/// One number of a query.
pub(crate) async fn number(db: &DatabaseConnection, sql: &str) -> i64 {
    try_number(db, sql).await.unwrap()
}

/// One number of a query that may fail.
pub(crate) async fn try_number(db: &DatabaseConnection, sql: &str) -> Result<i64, DbErr> {
    let statement = Statement::from_string(db.get_database_backend(), sql);
    let row = db.query_one_raw(statement).await?;
    row.ok_or_else(|| DbErr::RecordNotFound(sql.to_owned()))?
        .try_get_by_index(0)
}

/// The texts in the first column of a query.
pub(crate) async fn texts(db: &DatabaseConnection, sql: &str) -> Vec<String> {
    let statement = Statement::from_string(db.get_database_backend(), sql);
    let rows = db.query_all_raw(statement).await.unwrap();
    rows.iter()
        .map(|row| row.try_get_by_index(0).unwrap())
        .collect()
}

/// A UUID as a literal of the database's dialect.
pub(crate) fn literal(db: &DatabaseConnection, id: Uuid) -> String {
    match db.get_database_backend() {
        DbBackend::Postgres => format!("'{id}'::uuid"),
        _ => format!("x'{}'", id.simple()),
    }
}
