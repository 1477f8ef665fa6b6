# The function that serves the OpenAPI document.

module "get_openapi" {
  source = "./modules/function"

  name        = "get_openapi"
  defaults    = local.function_defaults
  description = "Returns the OpenAPI document of the API."

  environment = {
    API_URL = local.api_url
    VERSION = local.version
  }
}
