-- Run once, by the postgres image on an empty volume: each server has a database and a role that reaches no other.
\set ON_ERROR_STOP on
\getenv dagster_password DAGSTER_DATABASE_PASSWORD
\getenv mlflow_password MLFLOW_DATABASE_PASSWORD
CREATE ROLE dagster LOGIN PASSWORD :'dagster_password';
CREATE ROLE mlflow LOGIN PASSWORD :'mlflow_password';
CREATE DATABASE dagster OWNER dagster;
CREATE DATABASE mlflow OWNER mlflow;
REVOKE CONNECT ON DATABASE dagster, mlflow, postgres FROM PUBLIC;
