# The API's description of itself.

module "get_openapi" {
  source = "./modules/function"

  name        = "get_openapi"
  defaults    = local.function_defaults
  description = "Answers the OpenAPI document of the API."

  environment = {
    API_URL = local.api_url
  }
}
