"""Product: the catalogue, its prices, and the tree of categories.

Tables (schema `catalog`): category, product, variant, level (what inventory told of stock, for the hint of
availability), word and renamed_category (for the search). Out (`mercato.product.v1`): ProductCreated ProductUpdated
PriceChanged ProductArchived CategoryCreated CategoryUpdated AvailabilityChanged. In (`mercato.inventory.v1`, group
`product.availability`): what tells of levels.
"""
