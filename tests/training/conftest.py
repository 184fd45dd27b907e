from training_material import configured, material

__all__ = ["configured", "material"]
