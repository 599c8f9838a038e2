"""The marshmallow schemas and their fields."""
