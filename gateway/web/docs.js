// Shows /openapi.json. This release of Swagger UI turns away documents that call themselves 3.1; nothing in ours means
// anything else in 3.0, so it is told that it reads that.
const shown = show();

async function show() {
  const spec = await (await fetch("/openapi.json")).json();
  window.SwaggerUIBundle({
    spec: { ...spec, openapi: "3.0.3" },
    dom_id: "#operations",
    deepLinking: true,
    docExpansion: "none",
    defaultModelsExpandDepth: 0,
    displayRequestDuration: true,
    validatorUrl: null,
  });
}

shown.catch((error) => {
  document.getElementById("operations").textContent = `The document cannot be shown: ${error}`;
});
