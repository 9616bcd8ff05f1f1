"""Other gateways' configurations, read into Farebox's. Pure but for the price book that ships."""
