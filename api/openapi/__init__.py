"""The OpenAPI document, declared beside the routes."""
