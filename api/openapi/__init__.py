"""The OpenAPI document, generated from declarations at the routes."""
